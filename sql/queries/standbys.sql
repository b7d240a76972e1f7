-- name: is_fresh
-- Whether this server is at most `max_lag` seconds behind the primary, and has replayed the log up to `written`; null asks for neither. A
-- standby that has replayed all that it received, and still receives, is not behind; else its age is that of the last transaction replayed.
select not pg_catalog.pg_is_in_recovery()
       or (%(written)s::pg_catalog.pg_lsn is null or pg_catalog.pg_last_wal_replay_lsn() >= %(written)s::pg_catalog.pg_lsn)
          and (
              %(max_lag)s::pg_catalog.float8 is null
              or pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn()
                 and exists (select from pg_catalog.pg_stat_wal_receiver)
              or pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())
                 <= %(max_lag)s::pg_catalog.float8
          )
