"""The servers that a user could pick instead: what each needs, how it is started and asked."""
