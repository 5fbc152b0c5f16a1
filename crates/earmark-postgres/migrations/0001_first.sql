-- The schema is named by search_path. Amounts are whole numbers, times are milliseconds since
-- 1970 in UTC, nested parts are JSON in the layouts of earmark-store/src/rows.
--
-- Every key begins with the bucket, and of a tenant's rows with (bucket, tenant_id): the bucket
-- is what one transaction keeps to. Texts in keys are compared by their bytes.

CREATE TABLE tenant (
  bucket      smallint NOT NULL,
  tenant_id   text COLLATE "C" NOT NULL,
  plan        text NOT NULL,
  status      text NOT NULL,             -- active, suspended, erasing, erased
  time_zone   text NOT NULL,
  anchor      text,                      -- civil day
  windows     text NOT NULL,             -- day, week, month, year in progress
  created_ms  bigint NOT NULL,
  overrides   text,                      -- [[limit, amount, until_ms], ...]
  metadata    text,
  PRIMARY KEY (bucket, tenant_id)
);

-- Lists are in order of ids, whatever the bucket.
CREATE INDEX tenant_by_id ON tenant (tenant_id);

CREATE INDEX tenant_erasing ON tenant (tenant_id) WHERE status = 'erasing';

-- What every commit of a tenant changes, and the row that a transaction locks: narrow, with room
-- for new versions on its page and no index on what changes, so that updates stay there (HOT).
CREATE TABLE tenant_order (
  bucket      smallint NOT NULL,
  tenant_id   text COLLATE "C" NOT NULL,
  seq         bigint NOT NULL,           -- number of the last committed change
  last_ms     bigint NOT NULL,           -- its time
  open_holds  bigint NOT NULL,
  due_from_ms bigint NOT NULL,           -- no open hold expires before: where to look for due ones
  PRIMARY KEY (bucket, tenant_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE counter (
  bucket          smallint NOT NULL,
  tenant_id       text COLLATE "C" NOT NULL,
  limit_name      text COLLATE "C" NOT NULL,
  dimensions      text COLLATE "C" NOT NULL, -- user=u_17, or empty; # and a digest when too long
  "window"        text COLLATE "C" NOT NULL, -- 2026-11-01, 2026-11-24T10Z, lifetime, rolling, in_flight
  dimensions_long text,                  -- all of it, when it is too long for an index
  meter           text NOT NULL,
  used            bigint NOT NULL,       -- rolling: as of the last change; the sum of slices inside counts
  held            bigint NOT NULL,
  denied          bigint NOT NULL,
  changed_in      bigint NOT NULL,       -- the tenant's seq when one of these last changed
  rolling_minutes bigint,
  slices          text,                  -- [[slice, used], ...]
  fired           text,                  -- alerts raised
  idle_ms         bigint,                -- rolling with nothing held: from when nothing is used
  PRIMARY KEY (bucket, tenant_id, limit_name, dimensions, "window")
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX counter_idle ON counter (bucket, tenant_id, idle_ms)
  WHERE idle_ms IS NOT NULL AND dimensions <> '';

CREATE TABLE hold (
  bucket          smallint NOT NULL,
  tenant_id       text COLLATE "C" NOT NULL,
  hold_id         text COLLATE "C" NOT NULL,
  state           text NOT NULL,         -- open, settled, released, expired
  created_ms      bigint NOT NULL,
  expires_ms      bigint NOT NULL,
  ended_ms        bigint NOT NULL,       -- when it ended; while open, the end that it was made with
  dispatched      boolean NOT NULL,
  dimensions      text,
  legs            jsonb NOT NULL,        -- parts with their meters, counters and grants
  outcome         text,                  -- how it ended, where that is not as most do
  seq             bigint NOT NULL,
  idempotency_key text,
  digest          bytea,
  metadata        text,
  PRIMARY KEY (bucket, tenant_id, hold_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);

CREATE INDEX hold_open ON hold (bucket, tenant_id, expires_ms, hold_id) WHERE state = 'open';

-- Which tenants have something due, whatever their bucket.
CREATE INDEX hold_due ON hold (expires_ms, tenant_id) WHERE state = 'open';

CREATE TABLE "grant" (
  bucket      smallint NOT NULL,
  tenant_id   text COLLATE "C" NOT NULL,
  grant_id    text COLLATE "C" NOT NULL,
  meter       text NOT NULL,
  amount      bigint NOT NULL,
  used        bigint NOT NULL,
  held        bigint NOT NULL,
  lapsed      bigint NOT NULL,
  priority    integer NOT NULL,
  expires_ms  bigint,
  expired     boolean NOT NULL,          -- whether its expiry is in the ledger
  created_ms  bigint NOT NULL,
  reason      text,
  PRIMARY KEY (bucket, tenant_id, grant_id)
) WITH (fillfactor = 70);

CREATE INDEX grant_live ON "grant" (bucket, tenant_id) WHERE NOT expired AND amount > used;

CREATE INDEX grant_due ON "grant" (expires_ms, tenant_id)
  WHERE NOT expired AND amount > used AND expires_ms IS NOT NULL;

-- Append-only.
CREATE TABLE entry (
  bucket      smallint NOT NULL,
  tenant_id   text COLLATE "C" NOT NULL,
  seq         bigint NOT NULL,
  line        bigint NOT NULL,
  at_ms       bigint NOT NULL,
  kind        text NOT NULL,
  meter       text,
  amount      bigint NOT NULL,
  counters    text,                      -- [[limit, dimensions, window, slice, delta], ...]
  grants      text,                      -- [[grant, delta], ...]
  dimensions  text,
  hold_id     text,
  grant_id    text,
  late        boolean NOT NULL,
  overrun     bigint NOT NULL,
  detail      text,
  reason      text,
  author      text,
  metadata    text,
  PRIMARY KEY (bucket, tenant_id, seq, line)
);

-- What entries that were pruned are folded into: with the entries that are left they explain
-- every number.
CREATE TABLE opening (
  bucket          smallint NOT NULL,
  tenant_id       text COLLATE "C" NOT NULL,
  figure          text COLLATE "C" NOT NULL, -- counter, grant_used, grant_lapsed
  limit_name      text COLLATE "C" NOT NULL, -- empty for grants
  dimensions      text COLLATE "C" NOT NULL, -- as in counter
  "window"        text COLLATE "C" NOT NULL,
  slice           bigint NOT NULL,       -- of rolling counters, else -1
  grant_id        text COLLATE "C" NOT NULL, -- empty for counters
  dimensions_long text,
  meter           text,
  amount          bigint NOT NULL,
  PRIMARY KEY (bucket, tenant_id, figure, limit_name, dimensions, "window", slice, grant_id)
);

-- How far a tenant's entries are folded.
CREATE TABLE opened (
  bucket      smallint NOT NULL,
  tenant_id   text COLLATE "C" NOT NULL,
  seq         bigint NOT NULL,           -- the last change of which entries are folded
  at_ms       bigint NOT NULL,           -- when the youngest of them was made
  PRIMARY KEY (bucket, tenant_id)
);

-- Sums of entries, for charts.
CREATE TABLE usage_by_hour (
  bucket      smallint NOT NULL,
  tenant_id   text COLLATE "C" NOT NULL,
  meter       text COLLATE "C" NOT NULL,
  hour_ms     bigint NOT NULL,           -- when the hour begins
  used        bigint NOT NULL,
  PRIMARY KEY (bucket, tenant_id, meter, hour_ms)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE idempotency_key (
  bucket      smallint NOT NULL,
  tenant_id   text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,
  digest      bytea NOT NULL,
  hold_id     text,                      -- answers with this hold,
  answer      text,                      -- or with the first answer
  created_ms  bigint NOT NULL,
  PRIMARY KEY (bucket, tenant_id, key)
);

CREATE TABLE combination (
  bucket      smallint NOT NULL,
  tenant_id   text COLLATE "C" NOT NULL,
  limit_name  text COLLATE "C" NOT NULL,
  "window"    text COLLATE "C" NOT NULL,
  in_use      bigint NOT NULL,
  PRIMARY KEY (bucket, tenant_id, limit_name, "window")
) WITH (fillfactor = 70);

-- Which batches are committed, for those who did not hear the answer; kept for a day. A row that
-- says no was put there by who asked: it keeps that batch from being committed later.
CREATE TABLE commit_log (
  bucket          smallint NOT NULL,
  batch_id        uuid NOT NULL,
  committed       boolean NOT NULL,
  at_ms           bigint NOT NULL,
  newest_entry_ms bigint,                -- when the newest entry of the batch was made
  PRIMARY KEY (bucket, batch_id)
);

CREATE INDEX commit_log_at ON commit_log (bucket, at_ms);

-- What somebody is to be told of. The bucket is also the lowest bits of event_no, so that whoever
-- has a number has the key.
CREATE TABLE outbox (
  bucket      smallint NOT NULL,
  event_no    bigint NOT NULL,
  event_id    text COLLATE "C" NOT NULL, -- evt_..., the same for the same event
  tenant_id   text COLLATE "C" NOT NULL,
  at_ms       bigint NOT NULL,
  kind        text NOT NULL,
  limit_name  text NOT NULL,
  dimensions  text NOT NULL,
  "window"    text NOT NULL,
  amount      bigint NOT NULL,
  used        bigint NOT NULL,
  threshold   bigint,                    -- limit_reached: in ten-thousandths of the amount
  day         text,                      -- UTC day, of those that tell once a day
  planned     boolean NOT NULL DEFAULT false, -- whether its deliveries have been made
  PRIMARY KEY (bucket, event_no)
);

CREATE INDEX outbox_new ON outbox (event_no) WHERE NOT planned;

CREATE INDEX outbox_order ON outbox (event_no);

CREATE INDEX outbox_tenant ON outbox (tenant_id, event_no);

-- Not unique: a counter that was forgotten may tell the same again.
CREATE INDEX outbox_id ON outbox (event_id);

CREATE TABLE delivery (
  bucket      smallint NOT NULL,
  event_no    bigint NOT NULL,
  endpoint_id text COLLATE "C" NOT NULL,
  state       text NOT NULL,             -- pending, delivered, dead
  attempts    bigint NOT NULL,           -- that have begun
  at_ms       bigint NOT NULL,           -- next attempt, or end of the claim, or when it ended
  claimed     boolean NOT NULL,          -- an attempt is under way
  status      integer,                   -- of the last reply
  error       text,                      -- of the last attempt
  PRIMARY KEY (bucket, event_no, endpoint_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX delivery_due ON delivery (endpoint_id, at_ms, event_no) WHERE state = 'pending';

CREATE INDEX delivery_state ON delivery (state, event_no);

-- The tables below are of nobody in particular and small: a distributed database keeps a copy of
-- each on every node.

CREATE TABLE webhook_endpoint (
  endpoint_id      text COLLATE "C" NOT NULL PRIMARY KEY,
  url              text NOT NULL,
  description      text,
  events           text,                 -- ["limit_reached"], or null for all
  secret           bytea NOT NULL,       -- in clear: it signs
  former_secret    bytea,                -- signs, too, until
  former_until_ms  bigint,
  enabled          boolean NOT NULL,
  disabled_because text,
  created_ms       bigint NOT NULL
);

CREATE TABLE plan (
  name        text COLLATE "C" NOT NULL,
  version     bigint NOT NULL,
  document    text NOT NULL,
  created_ms  bigint NOT NULL,
  PRIMARY KEY (name, version)
);

CREATE TABLE retired_plan (
  name        text COLLATE "C" NOT NULL PRIMARY KEY
);

-- One row.
CREATE TABLE config (
  id           smallint NOT NULL PRIMARY KEY CHECK (id = 1),
  version      bigint NOT NULL,
  meters       text NOT NULL,
  default_plan text
);

INSERT INTO config (id, version, meters) VALUES (1, 0, '{}');

CREATE TABLE api_key (
  key_id      text COLLATE "C" NOT NULL PRIMARY KEY,
  kind        text NOT NULL,
  tenant_id   text COLLATE "C",
  "user"      text,
  name        text,
  digest      bytea NOT NULL UNIQUE,
  created_ms  bigint NOT NULL,
  revoked_ms  bigint
);

CREATE INDEX api_key_tenant ON api_key (tenant_id);
