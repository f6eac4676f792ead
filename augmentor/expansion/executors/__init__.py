"""Who makes which shard: this process, one process per device, or a cluster."""
