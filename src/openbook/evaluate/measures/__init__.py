"""The families of measures: each a function of what was asked and what came of it."""
