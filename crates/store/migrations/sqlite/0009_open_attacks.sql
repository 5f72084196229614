-- What may still be in place is asked for at each start of an attack and at each connection of an agent; it is little
-- of all that there ever was.
CREATE INDEX attacks_open ON attacks (host, at) WHERE NOT ended;
