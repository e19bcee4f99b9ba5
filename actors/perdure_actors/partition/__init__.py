"""One owned partition: its inbox, its transitions, its table and its outbox."""
