"""The life of workflow actors: rules, replay, shards, hosts and activity workers."""
