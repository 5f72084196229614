-- Moments are microseconds since the Unix epoch. Seeds are 64 bits, kept as a signed number.

CREATE TABLE schedules (
    name        TEXT   NOT NULL PRIMARY KEY,
    added       BIGINT NOT NULL,
    seed        BIGINT NOT NULL,
    -- Due times up to here were dealt with.
    looked      BIGINT NOT NULL,
    -- Why nothing starts.
    paused      TEXT,
    document    TEXT   NOT NULL
);

-- The plan of a week is made once.
CREATE TABLE schedule_weeks (
    schedule    TEXT   NOT NULL,
    week        TEXT   NOT NULL,
    seed        BIGINT NOT NULL,
    document    TEXT   NOT NULL,
    PRIMARY KEY (schedule, week)
);

-- At most one row for a due time: who inserts it may start the experiment.
CREATE TABLE occurrences (
    schedule    TEXT   NOT NULL,
    cluster     TEXT   NOT NULL,
    due         BIGINT NOT NULL,
    final       BOOLEAN NOT NULL,
    document    TEXT   NOT NULL,
    PRIMARY KEY (schedule, cluster, due)
);
CREATE INDEX occurrences_by_due ON occurrences (due);
CREATE INDEX occurrences_by_end ON occurrences (final, due);

CREATE TABLE closures (
    id          TEXT   NOT NULL PRIMARY KEY,
    until       BIGINT,
    document    TEXT   NOT NULL
);

-- Who is there; an empty cluster means all.
CREATE TABLE presences (
    person      TEXT   NOT NULL,
    cluster     TEXT   NOT NULL,
    until       BIGINT NOT NULL,
    document    TEXT   NOT NULL,
    PRIMARY KEY (person, cluster)
);
