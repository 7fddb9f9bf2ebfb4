"""The rules, by what they are about. The name of each is its sentence."""
