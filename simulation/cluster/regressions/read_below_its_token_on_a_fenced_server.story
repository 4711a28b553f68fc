# A read with a token waited on a standby for what is confirmed. The standby was promoted, and fenced before its last
# commits were decided: the read was served by the commits before those, which end below its token.
seed 420094
