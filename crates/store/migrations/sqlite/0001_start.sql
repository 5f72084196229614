-- Moments are microseconds since the Unix epoch (BIGINT). Documents are the JSON of a type of the `model` crate; the
-- columns beside a document are copies of what queries select or sort by.

CREATE TABLE hosts (
    name        TEXT   NOT NULL PRIMARY KEY,
    last_seen   BIGINT,
    document    TEXT   NOT NULL
);

CREATE TABLE tokens (
    hash        TEXT   NOT NULL PRIMARY KEY,
    host        TEXT   NOT NULL,
    expires     BIGINT NOT NULL,
    used        BIGINT
);

CREATE TABLE certificates (
    fingerprint TEXT   NOT NULL PRIMARY KEY,
    host        TEXT   NOT NULL,
    issued      BIGINT NOT NULL
);
CREATE INDEX certificates_by_host ON certificates (host, issued);

CREATE TABLE clusters (
    name        TEXT   NOT NULL PRIMARY KEY,
    registered  BIGINT NOT NULL,
    spec        TEXT   NOT NULL,
    login       TEXT
);

CREATE TABLE keepers (
    cluster     TEXT   NOT NULL PRIMARY KEY,
    revision    BIGINT NOT NULL,
    state       TEXT   NOT NULL
);

CREATE TABLE operations (
    id          TEXT   NOT NULL PRIMARY KEY,
    cluster     TEXT   NOT NULL,
    began       BIGINT NOT NULL,
    document    TEXT   NOT NULL
);
CREATE INDEX operations_by_cluster ON operations (cluster, began);
CREATE INDEX operations_by_start ON operations (began);

CREATE TABLE timeline (
    sequence    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at          BIGINT NOT NULL,
    cluster     TEXT,
    run         TEXT,
    document    TEXT   NOT NULL
);
CREATE INDEX timeline_by_cluster ON timeline (cluster, sequence);
CREATE INDEX timeline_by_run ON timeline (run, sequence);

CREATE TABLE runs (
    id          TEXT   NOT NULL PRIMARY KEY,
    experiment  TEXT   NOT NULL,
    cluster     TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    began       BIGINT NOT NULL,
    verdict     TEXT,
    reason      TEXT,
    report      TEXT   NOT NULL
);
CREATE INDEX runs_by_start ON runs (began);

CREATE TABLE ladder_passes (
    cluster     TEXT   NOT NULL,
    rung        BIGINT NOT NULL,
    run         TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (cluster, rung)
);

CREATE TABLE attacks (
    id          TEXT   NOT NULL PRIMARY KEY,
    host        TEXT   NOT NULL,
    cluster     TEXT,
    run         TEXT,
    ended       BOOLEAN NOT NULL,
    at          BIGINT NOT NULL,
    document    TEXT   NOT NULL
);
CREATE INDEX attacks_by_time ON attacks (at);
CREATE INDEX attacks_by_run ON attacks (run);

-- At most one row: starts are blocked while it is there.
CREATE TABLE halt (
    only        BIGINT NOT NULL PRIMARY KEY CHECK (only = 1),
    reason      TEXT   NOT NULL,
    since       BIGINT NOT NULL
);
