"""What the black-box tests stand on: a todod in a temporary directory, a strict HTTP client, real mongod
servers, a load generator, and the oracle that judges what survived. Nothing in here knows todod's sources."""
