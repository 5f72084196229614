-- Templates that people have saved; those that ship are in the program.
CREATE TABLE templates (
    name        TEXT   NOT NULL PRIMARY KEY,
    saved       BIGINT NOT NULL,
    document    TEXT   NOT NULL
);
