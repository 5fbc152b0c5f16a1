-- How far these tables are: batches are in the log first (one row).
CREATE TABLE log (
  id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  log_id      INTEGER NOT NULL,          -- the log that belongs to these tables
  folded      INTEGER NOT NULL,          -- number of the last batch that is in them
  last_entry  INTEGER NOT NULL,          -- largest entry_no ever
  last_event  INTEGER NOT NULL,          -- largest event_no ever
  is_closed   INTEGER NOT NULL           -- 1: all is here, the log is gone
) STRICT;

INSERT INTO log VALUES (1, 0, 0, 0, 0, 1);

-- Amounts are whole numbers, times are milliseconds since 1970 in UTC, nested parts are JSON.

CREATE TABLE tenant (
  tenant_id   TEXT NOT NULL PRIMARY KEY,
  plan        TEXT NOT NULL,
  status      TEXT NOT NULL,             -- active, suspended
  time_zone   TEXT NOT NULL,
  anchor      TEXT,                      -- civil day
  windows     TEXT NOT NULL,             -- day, week, month, year in progress
  created_ms  INTEGER NOT NULL,
  overrides   TEXT,                      -- [[limit, amount, until_ms], ...]
  metadata    TEXT
) STRICT, WITHOUT ROWID;

-- What every commit of a tenant changes, in a row of its own: a narrow table keeps the pages
-- that a batch touches few.
CREATE TABLE tenant_order (
  tenant_id   TEXT NOT NULL PRIMARY KEY,
  seq         INTEGER NOT NULL,          -- number of the last committed change
  last_ms     INTEGER NOT NULL,          -- its time
  open_holds  INTEGER NOT NULL,
  last_entry  INTEGER NOT NULL,          -- newest entry_no, 0 for none
  last_hold   TEXT NOT NULL              -- newest hold_id, empty for none
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (
  tenant_id       TEXT NOT NULL,
  limit_name      TEXT NOT NULL,
  dimensions      TEXT NOT NULL,         -- user=u_17, or empty
  window          TEXT NOT NULL,         -- 2026-11-01, 2026-11-24T10Z, lifetime, rolling, in_flight
  meter           TEXT NOT NULL,
  used            INTEGER NOT NULL,      -- rolling: as of the last change; the sum of slices inside counts
  held            INTEGER NOT NULL,
  denied          INTEGER NOT NULL,
  changed_in      INTEGER NOT NULL,      -- the tenant's newest entry_no when one of these last changed
  rolling_minutes INTEGER,
  slices          TEXT,                  -- [[slice, used], ...]
  fired           TEXT,                  -- alerts raised
  idle_ms         INTEGER,               -- rolling with nothing held: from when nothing is used
  PRIMARY KEY (tenant_id, limit_name, dimensions, window)
) STRICT, WITHOUT ROWID;

CREATE INDEX counter_idle ON counter (tenant_id, idle_ms)
  WHERE idle_ms IS NOT NULL AND dimensions <> '';

-- In order of time, since ids are: a batch appends to a few pages instead of touching one for
-- each tenant. A tenant's holds are a chain from tenant_order.last_hold.
CREATE TABLE hold (
  hold_id         TEXT NOT NULL,
  tenant_id       TEXT NOT NULL,
  state           TEXT NOT NULL,         -- open, settled, released, expired
  created_ms      INTEGER NOT NULL,
  expires_ms      INTEGER NOT NULL,
  ended_ms        INTEGER NOT NULL,      -- when it ended; while open, the end that it was made with
  dispatched      INTEGER NOT NULL,
  dimensions      TEXT,
  legs            TEXT NOT NULL,         -- parts with their meters, counters and grants
  outcome         TEXT,                  -- how it ended, where that is not as most do
  seq             INTEGER NOT NULL,
  previous        TEXT,                  -- the tenant's hold before it, empty for none
  idempotency_key TEXT,
  digest          BLOB,
  metadata        TEXT,
  PRIMARY KEY (hold_id, tenant_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX hold_open ON hold (tenant_id, expires_ms, hold_id) WHERE state = 'open';

CREATE TABLE "grant" (
  tenant_id   TEXT NOT NULL,
  grant_id    TEXT NOT NULL,
  meter       TEXT NOT NULL,
  amount      INTEGER NOT NULL,
  used        INTEGER NOT NULL,
  held        INTEGER NOT NULL,
  lapsed      INTEGER NOT NULL,
  priority    INTEGER NOT NULL,
  expires_ms  INTEGER,
  expired     INTEGER NOT NULL,          -- whether its expiry is in the ledger
  created_ms  INTEGER NOT NULL,
  reason      TEXT,
  PRIMARY KEY (tenant_id, grant_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX grant_due ON "grant" (expires_ms)
  WHERE expired = 0 AND amount > used AND expires_ms IS NOT NULL;

-- Append-only, in order of commits. A tenant's entries are a chain from
-- tenant_order.last_entry.
CREATE TABLE entry (
  entry_no    INTEGER NOT NULL PRIMARY KEY,
  tenant_id   TEXT NOT NULL,
  seq         INTEGER NOT NULL,
  line        INTEGER NOT NULL,
  previous    INTEGER NOT NULL,          -- the tenant's entry before it, 0 for none
  at_ms       INTEGER NOT NULL,
  kind        TEXT NOT NULL,
  meter       TEXT,
  amount      INTEGER NOT NULL,
  counters    TEXT,                      -- [[limit, dimensions, window, slice, delta], ...]
  grants      TEXT,                      -- [[grant, delta], ...]
  dimensions  TEXT,
  hold_id     TEXT,
  grant_id    TEXT,
  late        INTEGER NOT NULL,
  overrun     INTEGER NOT NULL,
  detail      TEXT,
  reason      TEXT,
  author      TEXT,
  metadata    TEXT
) STRICT;

-- What entries that were pruned are folded into: with the entries that are left they explain
-- every number.
CREATE TABLE opening (
  tenant_id   TEXT NOT NULL,
  figure      TEXT NOT NULL,             -- counter, grant_used, grant_lapsed
  limit_name  TEXT NOT NULL,             -- empty for grants
  dimensions  TEXT NOT NULL,
  window      TEXT NOT NULL,
  slice       INTEGER NOT NULL,          -- of rolling counters, else -1
  grant_id    TEXT NOT NULL,             -- empty for counters
  meter       TEXT,
  amount      INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, figure, limit_name, dimensions, window, slice, grant_id)
) STRICT, WITHOUT ROWID;

-- How far a tenant's entries are folded.
CREATE TABLE opened (
  tenant_id   TEXT NOT NULL PRIMARY KEY,
  seq         INTEGER NOT NULL,          -- the last change of which entries are folded
  at_ms       INTEGER NOT NULL           -- when the youngest of them was made
) STRICT, WITHOUT ROWID;

-- Sums of entries, for charts; history says up to which entry.
CREATE TABLE usage_by_hour (
  tenant_id   TEXT NOT NULL,
  meter       TEXT NOT NULL,
  hour_ms     INTEGER NOT NULL,          -- when the hour begins
  used        INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, meter, hour_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
  id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  through     INTEGER NOT NULL           -- entry_no
) STRICT;

INSERT INTO history VALUES (1, 0);

CREATE TABLE idempotency_key (
  tenant_id   TEXT NOT NULL,
  key         TEXT NOT NULL,
  digest      BLOB NOT NULL,
  hold_id     TEXT,                      -- answers with this hold,
  answer      TEXT,                      -- or with the first answer
  created_ms  INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE combination (
  tenant_id   TEXT NOT NULL,
  limit_name  TEXT NOT NULL,
  window      TEXT NOT NULL,
  in_use      INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, limit_name, window)
) STRICT, WITHOUT ROWID;

-- What somebody is to be told of, in order of commits. Batches only add to it: how far an event
-- is stands in delivery.
CREATE TABLE outbox (
  event_no    INTEGER NOT NULL PRIMARY KEY,
  event_id    TEXT NOT NULL,             -- evt_..., the same for the same event
  tenant_id   TEXT NOT NULL,
  at_ms       INTEGER NOT NULL,
  kind        TEXT NOT NULL,
  limit_name  TEXT NOT NULL,
  dimensions  TEXT NOT NULL,
  window      TEXT NOT NULL,
  amount      INTEGER NOT NULL,
  used        INTEGER NOT NULL,
  threshold   INTEGER,                   -- limit_reached: in ten-thousandths of the amount
  day         TEXT                       -- UTC day, of those that tell once a day
) STRICT;

-- Not unique: a counter that was forgotten may tell the same again.
CREATE INDEX outbox_id ON outbox (event_id);

CREATE INDEX outbox_tenant ON outbox (tenant_id, event_no);

-- Up to which event deliveries are planned (one row).
CREATE TABLE outbox_plan (
  id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  planned     INTEGER NOT NULL           -- event_no
) STRICT;

INSERT INTO outbox_plan VALUES (1, 0);

CREATE TABLE webhook_endpoint (
  endpoint_id      TEXT NOT NULL PRIMARY KEY,
  url              TEXT NOT NULL,
  description      TEXT,
  events           TEXT,                 -- ["limit_reached"], or null for all
  secret           BLOB NOT NULL,        -- in clear: it signs
  former_secret    BLOB,                 -- signs, too, until
  former_until_ms  INTEGER,
  enabled          INTEGER NOT NULL,
  disabled_because TEXT,
  created_ms       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery (
  event_no    INTEGER NOT NULL,
  endpoint_id TEXT NOT NULL,
  state       TEXT NOT NULL,             -- pending, delivered, dead
  attempts    INTEGER NOT NULL,          -- that have begun
  at_ms       INTEGER NOT NULL,          -- next attempt, or end of the claim, or when it ended
  claimed     INTEGER NOT NULL,          -- 1: an attempt is under way
  status      INTEGER,                   -- of the last reply
  error       TEXT,                      -- of the last attempt
  PRIMARY KEY (event_no, endpoint_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX delivery_due ON delivery (endpoint_id, at_ms) WHERE state = 'pending';

CREATE INDEX delivery_state ON delivery (state, event_no);

CREATE TABLE plan (
  name        TEXT NOT NULL,
  version     INTEGER NOT NULL,
  document    TEXT NOT NULL,
  created_ms  INTEGER NOT NULL,
  PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE retired_plan (
  name        TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE config (
  id           INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  version      INTEGER NOT NULL,
  meters       TEXT NOT NULL,
  default_plan TEXT
) STRICT;

INSERT INTO config (id, version, meters) VALUES (1, 0, '{}');

CREATE TABLE api_key (
  key_id      TEXT NOT NULL PRIMARY KEY,
  kind        TEXT NOT NULL,
  tenant_id   TEXT,
  user        TEXT,
  name        TEXT,
  digest      BLOB NOT NULL UNIQUE,
  created_ms  INTEGER NOT NULL,
  revoked_ms  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_tenant ON api_key (tenant_id);
