-- Moments are microseconds since the Unix epoch.

-- `document` is what is shown; `sealed` is everything, encrypted with a key that is not in here.
CREATE TABLE message_receivers (
    name        TEXT   NOT NULL PRIMARY KEY,
    added       BIGINT NOT NULL,
    kind        TEXT   NOT NULL,
    shown       TEXT   NOT NULL,
    sealed      TEXT   NOT NULL
);

CREATE TABLE message_rules (
    name        TEXT   NOT NULL PRIMARY KEY,
    document    TEXT   NOT NULL
);

-- One row for an event and a receiver, whatever happens: who inserts it first has put the message into the queue. The id
-- is what receivers know a message by, and the same at each try.
CREATE TABLE messages (
    id          TEXT   NOT NULL PRIMARY KEY,
    receiver    TEXT   NOT NULL,
    event       TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    enqueued    BIGINT NOT NULL,
    -- When it is tried (again); while it is being tried: when it may be tried by somebody else.
    due         BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    -- When the present series of tries began: an old message that a person sends again is not old.
    since       BIGINT NOT NULL,
    problem     TEXT,
    document    TEXT   NOT NULL,
    UNIQUE (receiver, event)
);
CREATE INDEX messages_by_due ON messages (state, due);
CREATE INDEX messages_by_time ON messages (enqueued);

-- At most one row: lines of the timeline up to here have been looked at.
CREATE TABLE message_progress (
    only        BIGINT NOT NULL PRIMARY KEY CHECK (only = 1),
    sequence    BIGINT NOT NULL
);

-- At most one row: when the daily message goes out, and the last day for which it has.
CREATE TABLE message_daily (
    only        BIGINT NOT NULL PRIMARY KEY CHECK (only = 1),
    since       BIGINT NOT NULL,
    day         TEXT,
    document    TEXT   NOT NULL
);

-- What lasts and was told of.
CREATE TABLE message_troubles (
    key         TEXT   NOT NULL PRIMARY KEY,
    since       BIGINT NOT NULL
);
