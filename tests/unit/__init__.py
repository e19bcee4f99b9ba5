"""Pure tests of one module each: no network, no sleep."""
