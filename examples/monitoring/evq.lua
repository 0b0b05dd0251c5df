-- The figures of EVQ for prometheus-redis-exporter: start it with `-script evq.lua`.
--
-- The exporter runs this by EVAL at each scrape and makes one metric, redis_script_values, of what it
-- returns: names and values in turn. A name here carries its labels, `evq_group_lag ring=a group=b`,
-- which prometheus.yml beside this file turns into a metric evq_group_lag with these labels.
--
-- It reads only, and the server does nothing else meanwhile: so the work has a bound. EVQ.STATS, which
-- has the figures of single partitions, takes as long as its rows, and is asked of ring after ring
-- until MAX_ROWS are used up. Of further rings evq_partition_..., evq_group_partitions_without_owner
-- and evq_group_exceptions_max are missing, and of more than MAX_RINGS rings all metrics are.

-- Pairs of a partition and a group: some 50 ms of the server.
local MAX_ROWS = 2000
local MAX_RINGS = 500

-- Fields of INFO evq that only grow. Prometheus' naming has `_total` behind these.
local COUNTERS = {
    evq_triggered = true, evq_delivered = true, evq_redelivered = true,
    evq_acknowledgements = true, evq_retries = true, evq_dead = true,
    evq_leases_granted = true, evq_leases_lost = true, evq_trimmed = true,
    evq_trim_looks = true, evq_refused_full = true, evq_groups_expired = true, evq_repeated = true,
    evq_dead_letters_expired = true, evq_scheduled = true, evq_scheduled_appended = true,
    evq_scheduled_cancelled = true,
}

local out = {}

-- Null, false and what is missing make no metric.
local function add(name, labels, value, divisor)
    value = tonumber(value)
    if value then
        out[#out + 1] = name .. labels
        out[#out + 1] = string.format("%.15g", value / (divisor or 1))
    end
end

-- A map as a server sends it to a script: names and values in turn.
local function map(flat)
    local fields = {}
    for at = 1, #flat, 2 do
        fields[flat[at]] = flat[at + 1]
    end
    return fields
end

-- The reply, or nothing where the command is refused: the rest is worth a scrape.
local refusals = 0
local function ask(...)
    local reply = redis.pcall(...)
    if type(reply) == "table" and reply.err then
        refusals = refusals + 1
        return nil
    end
    return reply
end

local function server()
    local info = ask("INFO", "evq") or ""
    add("evq_up", "", string.find(info, "evq_version:", 1, true) and 1 or 0)
    local held_up_ms, held_up_by
    for name, value in string.gmatch(info, "(evq_[%w_]+):([^\r\n]*)") do
        if name == "evq_trim_held_up_by_idlest" then
            held_up_by = value
        elseif name == "evq_trim_held_up_by_idlest_ms" then
            held_up_ms = value
        elseif COUNTERS[name] then
            add(name .. "_total", "", value)
        else
            add(name, "", value)
        end
    end
    -- database/ring/group: the group that holds retention up and has been silent the longest.
    local ring, group = string.match(held_up_by or "", "^%d+/([^/]+)/(.+)$")
    if ring then
        add("evq_trim_held_up_idle_seconds", " ring=" .. ring .. " group=" .. group, held_up_ms, 1000)
    end
end

-- What EVQ.STATS says of each partition, and what EVQ.GROUPS does not say of each group.
local function statistics(ring, stats)
    local groups = {}
    for _, partition in ipairs(map(stats).partitions) do
        partition = map(partition)
        local here = " ring=" .. ring .. " partition=" .. partition.partition
        add("evq_partition_events", here, partition.length)
        for _, row in ipairs(partition.groups) do
            row = map(row)
            local found = groups[row.group] or { without_owner = 0, exceptions_max = 0 }
            groups[row.group] = found
            local exceptions = row.retrying + row.held + row["dead-held"]
            found.exceptions_max = math.max(found.exceptions_max, exceptions)
            if not row.owner and row.lag > exceptions and not row["waits-after"] then
                -- Events that could be handed out, and nobody to take them.
                found.without_owner = found.without_owner + 1
            end
            add("evq_partition_lag", here .. " group=" .. row.group, row.lag)
        end
    end
    return groups
end

local function group_metrics(labels, group, found)
    add("evq_group_lag", labels, group.lag)
    add("evq_group_lag_exact", labels, group["lag-exact"])
    -- 0, not missing, when everything is finished: an alert must see the end.
    add("evq_group_oldest_seconds", labels, group["oldest-unfinished-ms"] or 0, 1000)
    add("evq_group_in_flight", labels, group["in-flight"])
    add("evq_group_retrying", labels, group.retrying)
    add("evq_group_held", labels, group.held)
    add("evq_group_dead_held", labels, group["dead-held"])
    add("evq_group_dead_letters", labels, group["dead-letters"])
    add("evq_group_owners", labels, group.owners)
    add("evq_group_deliveries_per_second", labels, group["deliveries-per-second"])
    add("evq_group_idle_seconds", labels, group["idle-ms"], 1000)
    add("evq_group_partitions_without_owner", labels, found.without_owner)
    add("evq_group_exceptions_max", labels, found.exceptions_max)
end

local rows_left = MAX_ROWS

local function ring_metrics(ring)
    local described, groups = ask("EVQ.RING", ring), ask("EVQ.GROUPS", "RING", ring)
    if not (described and groups) then
        return
    end
    described = map(described)
    local labels = " ring=" .. ring
    local partitions, events = described.partitions, 0
    for _, partition in ipairs(partitions) do
        events = events + (tonumber(map(partition).length) or 0)
    end
    add("evq_ring_partitions", labels, #partitions)
    add("evq_ring_events", labels, events)
    add("evq_ring_generation", labels, described.generation)
    local resizing = described.resizing and map(described.resizing)
    add("evq_ring_draining_partitions", labels, resizing and #resizing.draining or 0)
    local found = {}
    local rows = #partitions * #groups
    if rows <= rows_left then
        rows_left = rows_left - rows
        local stats = ask("EVQ.STATS", ring)
        found = stats and statistics(ring, stats) or {}
    end
    for _, group in ipairs(groups) do
        group = map(group)
        group_metrics(labels .. " group=" .. group.group, group, found[group.group] or {})
    end
end

server()
local rings = ask("EVQ.RINGS") or {}
for at = 1, math.min(#rings, MAX_RINGS) do
    ring_metrics(rings[at])
end
add("evq_scrape_rings_left_out", "", math.max(#rings - MAX_RINGS, 0))
add("evq_scrape_refusals", "", refusals)
return out
