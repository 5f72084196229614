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
    host        TEXT   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    person      TEXT   NOT NULL,
    reason      TEXT   NOT NULL
);

-- Who users are at identity providers, from their first log-in on.
CREATE TABLE identities (
    issuer      TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    person      TEXT   NOT NULL REFERENCES users (name),
    PRIMARY KEY (issuer, subject)
);
