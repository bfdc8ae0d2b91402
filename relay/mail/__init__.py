"""Values of mail: address, envelope, reply, header block, outcome. No I/O, no clock."""
