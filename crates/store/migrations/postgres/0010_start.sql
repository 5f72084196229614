-- The whole schema as of the versions 1 to 10 of the SQLite file, for PostgreSQL. Text is compared byte by byte, as there and in
-- the program.
-- Moments are microseconds since the Unix epoch (BIGINT).

-- Moments are microseconds since the Unix epoch (BIGINT). Documents are the JSON of a type of the `model` crate; the
-- columns beside a document are copies of what queries select or sort by.

CREATE TABLE hosts (
    name        TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    last_seen   BIGINT,
    document    TEXT COLLATE "C"   NOT NULL
);

CREATE TABLE tokens (
    hash        TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    host        TEXT COLLATE "C"   NOT NULL,
    expires     BIGINT NOT NULL,
    used        BIGINT
);

CREATE TABLE certificates (
    -- As in SQLite, in which rows are put: it decides between those of the same moment.
    rowid       BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
    fingerprint TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    host        TEXT COLLATE "C"   NOT NULL,
    issued      BIGINT NOT NULL
);
CREATE INDEX certificates_by_host ON certificates (host, issued);

CREATE TABLE clusters (
    name        TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    registered  BIGINT NOT NULL,
    spec        TEXT COLLATE "C"   NOT NULL,
    login       TEXT COLLATE "C"
);

CREATE TABLE keepers (
    cluster     TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    revision    BIGINT NOT NULL,
    state       TEXT COLLATE "C"   NOT NULL
);

CREATE TABLE operations (
    -- As in SQLite, in which rows are put: it decides between those of the same moment.
    rowid       BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
    id          TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    cluster     TEXT COLLATE "C"   NOT NULL,
    began       BIGINT NOT NULL,
    document    TEXT COLLATE "C"   NOT NULL
);
CREATE INDEX operations_by_cluster ON operations (cluster, began);
CREATE INDEX operations_by_start ON operations (began);

CREATE TABLE timeline (
    sequence    BIGINT NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at          BIGINT NOT NULL,
    cluster     TEXT COLLATE "C",
    run         TEXT COLLATE "C",
    document    TEXT COLLATE "C"   NOT NULL
);
CREATE INDEX timeline_by_cluster ON timeline (cluster, sequence);
CREATE INDEX timeline_by_run ON timeline (run, sequence);

CREATE TABLE runs (
    -- As in SQLite, in which rows are put: it decides between those of the same moment.
    rowid       BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
    id          TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    experiment  TEXT COLLATE "C"   NOT NULL,
    cluster     TEXT COLLATE "C"   NOT NULL,
    state       TEXT COLLATE "C"   NOT NULL,
    began       BIGINT NOT NULL,
    verdict     TEXT COLLATE "C",
    reason      TEXT COLLATE "C",
    report      TEXT COLLATE "C"   NOT NULL
);
CREATE INDEX runs_by_start ON runs (began);

CREATE TABLE ladder_passes (
    cluster     TEXT COLLATE "C"   NOT NULL,
    rung        BIGINT NOT NULL,
    run         TEXT COLLATE "C"   NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (cluster, rung)
);

CREATE TABLE attacks (
    -- As in SQLite, in which rows are put: it decides between those of the same moment.
    rowid       BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
    id          TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    host        TEXT COLLATE "C"   NOT NULL,
    cluster     TEXT COLLATE "C",
    run         TEXT COLLATE "C",
    ended       BOOLEAN NOT NULL,
    at          BIGINT NOT NULL,
    document    TEXT COLLATE "C"   NOT NULL
);
CREATE INDEX attacks_by_time ON attacks (at);
CREATE INDEX attacks_by_run ON attacks (run);

-- At most one row: starts are blocked while it is there.
CREATE TABLE halt (
    "only"        BIGINT NOT NULL PRIMARY KEY CHECK ("only" = 1),
    reason      TEXT COLLATE "C"   NOT NULL,
    since       BIGINT NOT NULL
);
-- At most one row: without it the limits are those by default.
CREATE TABLE guard_policy (
    "only"        BIGINT NOT NULL PRIMARY KEY CHECK ("only" = 1),
    at          BIGINT NOT NULL,
    person      TEXT COLLATE "C"   NOT NULL,
    document    TEXT COLLATE "C"   NOT NULL
);

-- Guards that were passed over, and by whom. Never changed.
CREATE TABLE guard_overrides (
    id          TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    cluster     TEXT COLLATE "C"   NOT NULL,
    document    TEXT COLLATE "C"   NOT NULL
);
CREATE INDEX guard_overrides_by_time ON guard_overrides (at);

-- How the hosts of an attack were chosen: the selector and its random number.
CREATE TABLE attack_choices (
    attack      TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    document    TEXT COLLATE "C"   NOT NULL
);

-- What waits for a second person, and what became of it.
CREATE TABLE approvals (
    id          TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    state       TEXT COLLATE "C"   NOT NULL,
    document    TEXT COLLATE "C"   NOT NULL
);
CREATE INDEX approvals_by_time ON approvals (at);
-- Moments are microseconds since the Unix epoch. Seeds are 64 bits, kept as a signed number.

CREATE TABLE schedules (
    name        TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    added       BIGINT NOT NULL,
    seed        BIGINT NOT NULL,
    -- Due times up to here were dealt with.
    looked      BIGINT NOT NULL,
    -- Why nothing starts.
    paused      TEXT COLLATE "C",
    document    TEXT COLLATE "C"   NOT NULL
);

-- The plan of a week is made once.
CREATE TABLE schedule_weeks (
    schedule    TEXT COLLATE "C"   NOT NULL,
    week        TEXT COLLATE "C"   NOT NULL,
    seed        BIGINT NOT NULL,
    document    TEXT COLLATE "C"   NOT NULL,
    PRIMARY KEY (schedule, week)
);

-- At most one row for a due time: who inserts it may start the experiment.
CREATE TABLE occurrences (
    schedule    TEXT COLLATE "C"   NOT NULL,
    cluster     TEXT COLLATE "C"   NOT NULL,
    due         BIGINT NOT NULL,
    final       BOOLEAN NOT NULL,
    document    TEXT COLLATE "C"   NOT NULL,
    PRIMARY KEY (schedule, cluster, due)
);
CREATE INDEX occurrences_by_due ON occurrences (due);
CREATE INDEX occurrences_by_end ON occurrences (final, due);

CREATE TABLE closures (
    id          TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    until       BIGINT,
    document    TEXT COLLATE "C"   NOT NULL
);

-- Who is there; an empty cluster means all.
CREATE TABLE presences (
    person      TEXT COLLATE "C"   NOT NULL,
    cluster     TEXT COLLATE "C"   NOT NULL,
    until       BIGINT NOT NULL,
    document    TEXT COLLATE "C"   NOT NULL,
    PRIMARY KEY (person, cluster)
);
-- Who may do what. Passwords and API tokens are kept as hashes, the keys of one-time codes encrypted with a key that
-- is not in here.
CREATE TABLE users (
    name        TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
    password    TEXT COLLATE "C"    NOT NULL,
    grants      TEXT COLLATE "C"    NOT NULL,
    disabled    BOOLEAN NOT NULL,
    totp        TEXT COLLATE "C",
    totp_on     BOOLEAN NOT NULL,
    totp_step   BIGINT  NOT NULL,
    created     BIGINT  NOT NULL,
    last_login  BIGINT
);

CREATE TABLE teams (
    name        TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
    grants      TEXT COLLATE "C"    NOT NULL
);

CREATE TABLE team_members (
    team        TEXT COLLATE "C"    NOT NULL REFERENCES teams (name) ON DELETE CASCADE,
    member      TEXT COLLATE "C"    NOT NULL REFERENCES users (name),
    PRIMARY KEY (team, member)
);
CREATE INDEX team_members_by_member ON team_members (member);

CREATE TABLE api_tokens (
    id          TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
    hash        TEXT COLLATE "C"    NOT NULL UNIQUE,
    label       TEXT COLLATE "C"    NOT NULL,
    owner       TEXT COLLATE "C"    NOT NULL REFERENCES users (name),
    grants      TEXT COLLATE "C"    NOT NULL,
    created     BIGINT  NOT NULL,
    expires     BIGINT  NOT NULL,
    last_used   BIGINT,
    revoked     BOOLEAN NOT NULL
);
CREATE INDEX api_tokens_by_owner ON api_tokens (owner, created);

CREATE TABLE sessions (
    hash        TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
    owner       TEXT COLLATE "C"    NOT NULL REFERENCES users (name),
    created     BIGINT  NOT NULL,
    expires     BIGINT  NOT NULL,
    last_used   BIGINT  NOT NULL
);
CREATE INDEX sessions_by_owner ON sessions (owner, created);

-- Grows only; each entry holds the hash of the one before it.
CREATE TABLE audit (
    sequence    BIGINT  NOT NULL PRIMARY KEY,
    entry       TEXT COLLATE "C"    NOT NULL,
    hash        TEXT COLLATE "C"    NOT NULL
);
-- Templates that people have saved; those that ship are in the program.
CREATE TABLE templates (
    name        TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    saved       BIGINT NOT NULL,
    document    TEXT COLLATE "C"   NOT NULL
);
-- `document` is what is shown; `sealed` is everything, encrypted with a key that is not in here.
CREATE TABLE message_receivers (
    name        TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    added       BIGINT NOT NULL,
    kind        TEXT COLLATE "C"   NOT NULL,
    shown       TEXT COLLATE "C"   NOT NULL,
    sealed      TEXT COLLATE "C"   NOT NULL
);

CREATE TABLE message_rules (
    name        TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    document    TEXT COLLATE "C"   NOT NULL
);

-- One row for an event and a receiver, whatever happens: who inserts it first has put the message into the queue. The id
-- is what receivers know a message by, and the same at each try.
CREATE TABLE messages (
    id          TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    receiver    TEXT COLLATE "C"   NOT NULL,
    event       TEXT COLLATE "C"   NOT NULL,
    state       TEXT COLLATE "C"   NOT NULL,
    enqueued    BIGINT NOT NULL,
    -- When it is tried (again); while it is being tried: when it may be tried by somebody else.
    due         BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    -- When the present series of tries began: an old message that a person sends again is not old.
    since       BIGINT NOT NULL,
    problem     TEXT COLLATE "C",
    document    TEXT COLLATE "C"   NOT NULL,
    UNIQUE (receiver, event)
);
CREATE INDEX messages_by_due ON messages (state, due);
CREATE INDEX messages_by_time ON messages (enqueued);

-- At most one row: lines of the timeline up to here have been looked at.
CREATE TABLE message_progress (
    "only"        BIGINT NOT NULL PRIMARY KEY CHECK ("only" = 1),
    sequence    BIGINT NOT NULL
);

-- At most one row: when the daily message goes out, and the last day for which it has.
CREATE TABLE message_daily (
    "only"        BIGINT NOT NULL PRIMARY KEY CHECK ("only" = 1),
    since       BIGINT NOT NULL,
    day         TEXT COLLATE "C",
    document    TEXT COLLATE "C"   NOT NULL
);

-- What lasts and was told of.
CREATE TABLE message_troubles (
    key         TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    since       BIGINT NOT NULL
);
-- What may still be in place is asked for at each start of an attack and at each connection of an agent; it is little
-- of all that there ever was.
CREATE INDEX attacks_open ON attacks (host, at) WHERE NOT ended;
-- Answers to calls that carry a key, for a day.
CREATE TABLE answers (
    person       TEXT COLLATE "C"   NOT NULL,
    key          TEXT COLLATE "C"   NOT NULL,
    asked        TEXT COLLATE "C"   NOT NULL,
    at           BIGINT NOT NULL,
    status       BIGINT,
    content_type TEXT COLLATE "C",
    body         BYTEA,
    PRIMARY KEY (person, key)
);
CREATE INDEX answers_at ON answers (at);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- The fence: a session says by its name in which epoch its server acts (`firedrill/7`), and writes nothing when that is
-- over. The lock keeps the next server from beginning its epoch before this transaction is over; saying "still" in the
-- row does not wait for it. Each table needs the trigger; a test sees to it.
CREATE FUNCTION only_who_acts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    session TEXT := current_setting('application_name');
BEGIN
    IF session LIKE 'firedrill/%' THEN
        PERFORM 1 FROM acting WHERE epoch = CAST(substr(session, 11) AS BIGINT) FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the server of % does not act any more', session USING ERRCODE = 'FD001';
        END IF;
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    name TEXT;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables
        WHERE schemaname = current_schema() AND tablename NOT IN ('acting', '_sqlx_migrations')
    LOOP
        EXECUTE format('CREATE TRIGGER only_who_acts BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I
            FOR EACH STATEMENT EXECUTE FUNCTION only_who_acts()', name);
    END LOOP;
END $$;
