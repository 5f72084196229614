-- At most one row: without it the limits are those by default.
CREATE TABLE guard_policy (
    only        BIGINT NOT NULL PRIMARY KEY CHECK (only = 1),
    at          BIGINT NOT NULL,
    person      TEXT   NOT NULL,
    document    TEXT   NOT NULL
);

-- Guards that were passed over, and by whom. Never changed.
CREATE TABLE guard_overrides (
    id          TEXT   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    cluster     TEXT   NOT NULL,
    document    TEXT   NOT NULL
);
CREATE INDEX guard_overrides_by_time ON guard_overrides (at);

-- How the hosts of an attack were chosen: the selector and its random number.
CREATE TABLE attack_choices (
    attack      TEXT   NOT NULL PRIMARY KEY,
    document    TEXT   NOT NULL
);

-- What waits for a second person, and what became of it.
CREATE TABLE approvals (
    id          TEXT   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    state       TEXT   NOT NULL,
    document    TEXT   NOT NULL
);
CREATE INDEX approvals_by_time ON approvals (at);
