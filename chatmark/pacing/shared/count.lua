-- The budget of all processes, kept in Redis or Valkey. `chatmark/redis.py` describes its use.
--
-- Each call holds one of MOST slots from its promise until a second after its answer. A promise is
-- "your call may go at t", with t at most HORIZON ahead. A process for which no moment within HORIZON
-- is free joins a queue and asks again. The queue is ordered by class, then by how many calls the
-- process has had (start-time fair queueing), so that a process that asks for many calls gets no more
-- than its turn. Nothing here waits. The promises of a process that dies end by themselves.
--
-- All times are whole microseconds. What is kept is of this server's clock; arguments and results are
-- durations from now on, so that no process needs to know that clock. KEYS, all with one hash tag:
--   state   hash: last call of this script, when the next slot is due, the end of the pause, the time
--           from which slots are promised, and the turns of the two classes
--   slots   sorted set: calls, by the time until which they count
--   queue   sorted set: processes that wait, by class and turn
--   polled  sorted set: the same processes, by when they last asked
--   alive   sorted set: all processes, by when they last called
--   turns   hash: the turn of each process
local state, slots, queue, polled, alive, turns = unpack(KEYS)

local process = ARGV[1]
local now = tonumber(ARGV[2])      -- 0 for this server's clock; tests give times
local most = tonumber(ARGV[3])     -- slots
local period = tonumber(ARGV[4])   -- the window, a second
local burst = tonumber(ARGV[5])    -- what may be made up for after a rest
local horizon = tonumber(ARGV[6])  -- how far ahead slots are promised
local grace = tonumber(ARGV[7])    -- how much later than promised a call may reach Chat
local hold = tonumber(ARGV[8])     -- how long nothing is promised when the count may be lost
local class = tonumber(ARGV[9])    -- 0 goes before 1
local wanted = tonumber(ARGV[10])  -- slots asked for
local first = tonumber(ARGV[11])   -- the number of the first of them
local pause = tonumber(ARGV[12])   -- how long all calls are held back
local leaving = ARGV[13] == '1'
local REPORTS = 14                 -- from here: a call, and for how long it counts; 0 if not made

local SILENT = 2000000             -- each process calls twice a second
local DEAD = 3000000
local FORGOTTEN = 500000           -- a process that waits asks several times in this time
local KEPT = 3600000               -- milliseconds
local CLASS = 1e12                 -- above any turn
local CREDIT = 10                  -- turns that a process may make up for
local LONGEST = 60000000           -- the longest pause

local function whole(number)
  return string.format('%.0f', number)
end

-- A value that this script cannot have written is brought within bounds, and the answer says so.
local mended = 0
local function bounded(value, most)
  local number = tonumber(value or 0) or -1
  if number >= 0 and number <= most then
    return number
  end
  mended = 1
  return number > most and most or 0
end

local function get(field, most)
  local value = redis.call('HGET', state, field)
  local number = bounded(value, most)
  if value and number ~= tonumber(value) then
    redis.call('HSET', state, field, whole(number))
  end
  return number
end

if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local last = get('last', math.huge)
if now < last and last - now < SILENT then
  -- The clock was set back a little: time stands still for a while.
  now = last
elseif now < last then
  redis.call('DEL', unpack(KEYS))
  last = 0
end
local opens = get('opens', now + hold)
if last == 0 or (now - last > SILENT and redis.call('ZCARD', alive) > 0) then
  -- A first call, or the server was away: other processes may still keep to their local shares.
  opens = now + hold
  redis.call('HSET', state, 'opens', whole(opens))
end
redis.call('HSET', state, 'last', whole(now))

local paused = get('paused', now + LONGEST)
if pause > 0 then
  paused = math.max(paused, now + math.min(pause, LONGEST))
  redis.call('HSET', state, 'paused', whole(paused))
end

for i = REPORTS, #ARGV, 2 do
  if ARGV[i + 1] == '0' then
    redis.call('ZREM', slots, ARGV[i])
  else
    redis.call('ZADD', slots, whole(now + ARGV[i + 1]), ARGV[i])
  end
end
redis.call('ZREMRANGEBYSCORE', slots, '-inf', whole(now))
mended = mended
  + redis.call('ZREMRANGEBYSCORE', slots, '(' .. whole(now + hold + grace), '+inf')
  + redis.call('ZREMRANGEBYSCORE', alive, '(' .. whole(now), '+inf')
  + redis.call('ZREMRANGEBYSCORE', polled, '(' .. whole(now), '+inf')

for _, each in ipairs(redis.call('ZRANGEBYSCORE', alive, '-inf', whole(now - DEAD))) do
  redis.call('ZREM', alive, each)
  redis.call('HDEL', turns, each)
end
for _, each in ipairs(redis.call('ZRANGEBYSCORE', polled, '-inf', whole(now - FORGOTTEN))) do
  redis.call('ZREM', polled, each)
  redis.call('ZREM', queue, each)
end
if redis.call('ZCARD', queue) ~= redis.call('ZCARD', polled) then
  mended = mended + redis.call('DEL', queue, polled)
end
if leaving then
  redis.call('ZREM', alive, process)
  redis.call('HDEL', turns, process)
  wanted = 0
else
  redis.call('ZADD', alive, whole(now), process)
end

local due = math.max(get('due', now + hold), now - burst)
local since = math.max(now, paused, opens)
local reached = get('turn' .. class, CLASS) % CLASS
local turn = bounded(redis.call('HGET', turns, process), reached + 1)
turn = math.max(reached - CREDIT, turn)

-- When a call can go if this many others go before it.
local function moment(ahead)
  local at = math.max(since, due + ahead * (period / most))
  local rank = math.max(0, most - 1 - ahead)
  local held = redis.call('ZREVRANGE', slots, rank, rank, 'WITHSCORES')
  return math.ceil(math.max(at, tonumber(held[2] or 0)))
end

local promised = {}
local wait = 0
while #promised < wanted do
  local place = whole(class * CLASS + turn)
  local ahead = redis.call('ZCOUNT', queue, '-inf', '(' .. place)
  local at = moment(ahead)
  if at > now + horizon then
    wait = at - now - horizon
    redis.call('ZADD', queue, place, process)
    redis.call('ZADD', polled, whole(now), process)
    break
  end
  -- The processes ahead have not asked yet, and have room, too: do not leave the first slot to them.
  at = moment(0)
  redis.call('ZADD', slots, whole(at + grace + period), process .. ':' .. whole(first + #promised))
  due = math.max(due, at - burst) + period / most
  reached = math.max(reached, turn)
  turn = turn + 1
  promised[#promised + 1] = at - now
end
if #promised == wanted then
  redis.call('ZREM', queue, process)
  redis.call('ZREM', polled, process)
end
if #promised > 0 then
  redis.call('HSET', state, 'due', whole(due), 'turn' .. class, whole(reached))
  redis.call('HSET', turns, process, whole(turn))
end

for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, KEPT)
end
return {
  math.max(0, paused - now), math.max(0, opens - now), redis.call('ZCARD', alive), wait, mended,
  unpack(promised)
}
