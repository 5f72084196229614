-- Answers to calls that carry a key, for a day.
CREATE TABLE answers (
    person       TEXT   NOT NULL,
    key          TEXT   NOT NULL,
    asked        TEXT   NOT NULL,
    at           BIGINT NOT NULL,
    status       BIGINT,
    content_type TEXT,
    body         BLOB,
    PRIMARY KEY (person, key)
);
CREATE INDEX answers_at ON answers (at);
