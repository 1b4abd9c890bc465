"""The built-in cases, a module a family; importing this package registers them all."""
