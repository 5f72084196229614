-- Who may do what. Passwords and API tokens are kept as hashes, the keys of one-time codes encrypted with a key that
-- is not in here.
CREATE TABLE users (
    name        TEXT    NOT NULL PRIMARY KEY,
    password    TEXT    NOT NULL,
    grants      TEXT    NOT NULL,
    disabled    BOOLEAN NOT NULL,
    totp        TEXT,
    totp_on     BOOLEAN NOT NULL,
    totp_step   BIGINT  NOT NULL,
    created     BIGINT  NOT NULL,
    last_login  BIGINT
);

CREATE TABLE teams (
    name        TEXT    NOT NULL PRIMARY KEY,
    grants      TEXT    NOT NULL
);

CREATE TABLE team_members (
    team        TEXT    NOT NULL REFERENCES teams (name) ON DELETE CASCADE,
    member      TEXT    NOT NULL REFERENCES users (name),
    PRIMARY KEY (team, member)
);
CREATE INDEX team_members_by_member ON team_members (member);

CREATE TABLE api_tokens (
    id          TEXT    NOT NULL PRIMARY KEY,
    hash        TEXT    NOT NULL UNIQUE,
    label       TEXT    NOT NULL,
    owner       TEXT    NOT NULL REFERENCES users (name),
    grants      TEXT    NOT NULL,
    created     BIGINT  NOT NULL,
    expires     BIGINT  NOT NULL,
    last_used   BIGINT,
    revoked     BOOLEAN NOT NULL
);
CREATE INDEX api_tokens_by_owner ON api_tokens (owner, created);

CREATE TABLE sessions (
    hash        TEXT    NOT NULL PRIMARY KEY,
    owner       TEXT    NOT NULL REFERENCES users (name),
    created     BIGINT  NOT NULL,
    expires     BIGINT  NOT NULL,
    last_used   BIGINT  NOT NULL
);
CREATE INDEX sessions_by_owner ON sessions (owner, created);

-- Grows only; each entry holds the hash of the one before it.
CREATE TABLE audit (
    sequence    BIGINT  NOT NULL PRIMARY KEY,
    entry       TEXT    NOT NULL,
    hash        TEXT    NOT NULL
);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
