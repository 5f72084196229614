-- The certificates of agents are short-lived: a host has the one that it uses, and at most one that it was given to go on
-- with. What is not here is not in force.
DELETE FROM certificates WHERE EXISTS (
    SELECT 1 FROM certificates newer WHERE newer.host = certificates.host AND newer.issued > certificates.issued
);
-- Without an end: made before certificates were renewed.
ALTER TABLE certificates ADD COLUMN expires BIGINT;
-- When its host first came with it.
ALTER TABLE certificates ADD COLUMN used BIGINT;

-- Hosts that are kept out until they are enrolled anew.
CREATE TABLE revocations (
    host        TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    person      TEXT COLLATE "C"   NOT NULL,
    reason      TEXT COLLATE "C"   NOT NULL
);

-- Who users are at identity providers, from their first log-in on.
CREATE TABLE identities (
    issuer      TEXT COLLATE "C"   NOT NULL,
    subject     TEXT COLLATE "C"   NOT NULL,
    person      TEXT COLLATE "C"   NOT NULL REFERENCES users (name),
    PRIMARY KEY (issuer, subject)
);

CREATE TRIGGER only_who_acts BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON revocations
    FOR EACH STATEMENT EXECUTE FUNCTION only_who_acts();
CREATE TRIGGER only_who_acts BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON identities
    FOR EACH STATEMENT EXECUTE FUNCTION only_who_acts();
