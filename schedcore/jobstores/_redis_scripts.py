"""The Lua scripts of the Redis store. Redis runs each to its end before anything else, which is what makes them atomic."""

from __future__ import annotations

__all__ = ["GET", "RELEASE", "RENEW", "TAKE", "WRITE"]

# KEYS: owner, meta. ARGV: my name, lease (ms), the name that may be taken over or "".
# Returns the name that holds it, and if that is mine, the one that took it before.
TAKE = """
local holder = redis.call('GET', KEYS[1])
if not holder or holder == ARGV[1] or holder == ARGV[3] then
  local before = redis.call('HGET', KEYS[2], 'taken')
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  redis.call('HSET', KEYS[2], 'taken', ARGV[1])
  return {ARGV[1], before or ''}
end
return {holder, ''}
"""

# KEYS: owner. ARGV: my name, lease (ms). Returns 1, or 0 if it is not mine any more.
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# KEYS: owner. ARGV: my name.
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""

# KEYS: hashes. ARGV: for each of them how many bytes a value may have; then names. Returns for each name what each hash has
# there; of what is longer the size and the beginning.
GET = """
local found = {}
for at = #KEYS + 1, #ARGV do
  for number, key in ipairs(KEYS) do
    local value = redis.call('HGET', key, ARGV[at])
    if value and #value > tonumber(ARGV[number]) then value = {#value, string.sub(value, 1, 32)} end
    found[#found + 1] = value
  end
end
return found
"""

# KEYS: owner, jobs, payloads, due by the wall clock, due by elapsed time, idle, live, broken, records, history, failed,
# meta. ARGV: my name, a token of this batch, whether all or none, how many records are kept for each job, the prefix of a
# job's history, how many changes; then for each of them: id, old revision, new document or '' (delete), 1 if there is a
# payload and the payload, the timeline (4 or 5, the index of its key; 6: none; 0: it has no job; after a +: as before, at
# another time; empty: as before), due time, whether live and whether broken (empty: as before), how many records; and for
# each record: key, fire time, text, whether it failed.
# Returns a 1 for each change that was made and a 0 for each that was not; or, alone, the name of who owns the store now, or "".
# A client that sends the batch again, because it did not learn what became of it, is told that.
WRITE = """
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] then return holder or '' end
local sent = redis.call('HMGET', KEYS[12], 'batch', 'made')
if sent[1] == ARGV[2] then
  local made = {}
  for digit in string.gmatch(sent[2], '.') do made[#made + 1] = tonumber(digit) end
  return made
end
local together, keep, prefix, count = ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local at = 7
local starts, fits, all = {}, {}, true
for number = 1, count do
  starts[number] = at
  local there = redis.call('HGET', KEYS[2], ARGV[at])
  local revision = there and string.match(there, '^%d+') or '0'
  local fit = revision == ARGV[at + 1]
  fits[number] = fit and 1 or 0
  all = all and fit
  at = at + 10 + 4 * tonumber(ARGV[at + 9])
end
if together == '1' and not all then return fits end
for number = 1, count do
  if fits[number] == 1 then
    local i = starts[number]
    local id = ARGV[i]
    local line = ARGV[i + 5]
    if line ~= '' and string.sub(line, 1, 1) ~= '+' then
      redis.call('ZREM', KEYS[4], id)
      redis.call('ZREM', KEYS[5], id)
      redis.call('ZREM', KEYS[6], id)
    end
    if ARGV[i + 2] == '' then
      redis.call('HDEL', KEYS[2], id)
      redis.call('HDEL', KEYS[3], id)
    else
      redis.call('HSET', KEYS[2], id, ARGV[i + 2])
      if ARGV[i + 3] == '1' then redis.call('HSET', KEYS[3], id, ARGV[i + 4]) end
      if line ~= '' and line ~= '0' then redis.call('ZADD', KEYS[tonumber(line)], ARGV[i + 6], id) end
    end
    for set = 7, 8 do
      local member = ARGV[i + set]
      if member == '1' then redis.call('SADD', KEYS[set], id)
      elseif member == '0' then redis.call('SREM', KEYS[set], id) end
    end
    local records = tonumber(ARGV[i + 9])
    if records > 0 then
      local own = prefix .. id
      for record = 0, records - 1 do
        local r = i + 10 + 4 * record
        if redis.call('HSETNX', KEYS[9], ARGV[r], ARGV[r + 2]) == 1 then
          redis.call('ZADD', KEYS[10], ARGV[r + 1], ARGV[r])
          redis.call('ZADD', own, ARGV[r + 1], ARGV[r])
          if ARGV[r + 3] == '1' then redis.call('ZADD', KEYS[11], ARGV[r + 1], ARGV[r]) end
        end
      end
      local over = redis.call('ZCARD', own) - keep
      for _, key in ipairs(over > 0 and redis.call('ZRANGE', own, 0, over - 1) or {}) do
        redis.call('HDEL', KEYS[9], key)
        redis.call('ZREM', KEYS[10], key)
        redis.call('ZREM', KEYS[11], key)
        redis.call('ZREM', own, key)
      end
    end
  end
end
redis.call('HSET', KEYS[12], 'batch', ARGV[2], 'made', table.concat(fits))
return fits
"""
