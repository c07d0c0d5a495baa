-- job_submit.lua: watts as licences. Slurm's controller calls this for each job that is submitted or
-- changed; it adds `-L watt:N` by the GPUs asked for, the cap asked for and the nodes' own share, by the
-- table wattune-budget.conf that lies beside this file (docs/budget.md).
--
-- A Lua error in here would reject every job of the site, and a loop would stop the controller. So: all that
-- is done runs under pcall, no loop is longer than what it reads, the table is data and no code, and
-- whatever goes wrong the job is taken as it came - with a line in slurmctld's log.
--
-- Facts of Slurm 22.05, by trial: job_desc.spank_job_env is a table counted from 0 that holds what SPANK
-- plugins put there at submission ("WATTUNE_POWER=150"); job_rec has it too, but not num_tasks; numbers
-- that were not given are 0xfffe, 0xfffffffe, 0xffff or 0xffffffff by their width.
--
-- A site that has a job_submit.lua of its own keeps it, lays this file beside it under another name, and calls
-- wattune_submit and wattune_modify from its own functions, whose last line the second's answer is:
--     pcall(dofile, "/etc/slurm/wattune-budget.lua")
--     if wattune_submit then wattune_submit(job_desc, part_list, uid) end
--     return wattune_modify and wattune_modify(job_desc, job_rec, part_list, uid) or slurm.SUCCESS

local TABLE_BYTES = 65536
local WATTS_MAX = 1000000000

local here = "/etc/slurm/"
pcall(function()
    here = string.match(debug.getinfo(1, "S").source, "^@(.*/)") or here
end)

-- ---- the table ----

local function whole(text, max)
    local n = string.match(text or "", "^%d+$") and tonumber(text)
    if n and n <= (max or WATTS_MAX) then return n end
    error("\"" .. tostring(text) .. "\" is no whole number up to " .. (max or WATTS_MAX), 0)
end

local function licence_name(text)
    if text and string.match(text, "^[%a_][%w_%-]*$") then return text end
    error("\"" .. tostring(text) .. "\" is no name of a licence", 0)
end

-- One line into the table; an error says what is wrong with it.
local function take_line(t, words)
    local what, name = words[1], words[2]
    if what == "licence" then
        t.licence = licence_name(name)
    elseif what == "host" or what == "cpu" then
        t[what] = whole(name)
    elseif what == "tell" and (name == "yes" or name == "no") then
        t.tell = name == "yes"
    elseif what == "node" then
        for i = 2, #words do
            local key, value = string.match(words[i], "^(%a+)=(.*)$")
            if key ~= "gpus" and key ~= "cpus" then error("\"" .. words[i] .. "\" is not gpus=N or cpus=N", 0) end
            t.node[key] = whole(value, 100000)
            if t.node[key] == 0 then error(words[i] .. ": a node without is one that is not named", 0) end
        end
    elseif what == "gpu" and name then
        local gpu = { max = whole(words[3]) }
        for i = 4, #words do
            local key, value = string.match(words[i], "^(%a+)=(.*)$")
            if key ~= "min" and key ~= "default" then error("\"" .. words[i] .. "\" is not min=W or default=W", 0) end
            gpu[key] = whole(value)
        end
        if not gpu.min then error("min=W is missing: below it no cap is set, and a job runs at its maximum", 0) end
        if gpu.min > gpu.max or (gpu.default or 0) > gpu.max then error("more than its maximum", 0) end
        if gpu.default and gpu.default < gpu.min then error("a default below its min", 0) end
        t.gpus[string.lower(name)] = gpu
    elseif what == "partition" and name then
        local part = {}
        for i = 3, #words do
            local key, value = string.match(words[i], "^(%a+)=(.*)$")
            if words[i] == "off" then
                part.off = true
            elseif words[i] == "exclusive" then
                part.exclusive = true
            elseif key == "licence" then
                part.licence = licence_name(value)
            elseif key == "host" or key == "cpu" then
                part[key] = whole(value)
            else
                error("\"" .. words[i] .. "\" is not off, exclusive, licence=NAME, host=W or cpu=W", 0)
            end
        end
        t.partitions[name] = part
    else
        error("a line is licence, gpu, host, cpu, node, partition or tell", 0)
    end
end

local function parse_table(text)
    local t = { licence = "watt", gpus = {}, host = 0, cpu = 0, node = {}, partitions = {}, tell = true }
    local number = 0
    for line in string.gmatch(text .. "\n", "([^\n]*)\n") do
        number = number + 1
        local words = {}
        for word in string.gmatch(string.gsub(line, "#.*", ""), "%S+") do words[#words + 1] = word end
        if #words > 0 then
            local ok, why = pcall(take_line, t, words)
            if not ok then error("line " .. number .. ": " .. tostring(why), 0) end
        end
    end
    return t
end

local last_text, last_table, last_complaint

local function complain(text)
    if text ~= last_complaint then slurm.log_error("wattune: %s", text) end
    last_complaint = text
end

-- The table as it is now; nil: there is none, and jobs get no licences. One that cannot be read leaves the
-- last good one in force.
local function load_table()
    local path = here .. "wattune-budget.conf"
    local file = io.open(path, "r")
    if not file then
        complain(path .. ": is not there: jobs get no licences of the power budget")
        return nil
    end
    local text = file:read(TABLE_BYTES)
    file:close()
    text = text or ""
    if text == last_text then return last_table end
    local ok, got = pcall(parse_table, text)
    if ok then
        last_text, last_table, last_complaint = text, got, nil
        return got
    end
    complain(path .. ": " .. tostring(got) ..
        (last_table and "; the table as it was before stays in force" or "; jobs get no licences of the power budget"))
    return last_table
end

-- ---- a job ----

local function known(value, none)
    if type(value) == "number" and value > 0 and value < none then return value end
    return nil
end
local function known16(value) return known(value, 65534) end
local function known32(value) return known(value, 4294967294) end
local function flag16(value) return type(value) == "number" and value < 65534 and value or nil end

-- The cap that was asked for: watts, "off", or nil.
local function cap_of(env)
    local cap
    if type(env) ~= "table" then return nil end
    for i = 0, 255 do
        local word = env[i]
        if type(word) ~= "string" then break end
        local value = string.match(word, "^WATTUNE_POWER=(.*)$") or string.match(word, "^WATTUNE_GPUPOWER=(.*)$")
        if value then
            local watts = string.match(value, "^(%d+)[wW]?$")
            cap = watts and tonumber(watts) or ((value == "off" or value == "no") and "off") or cap
        end
    end
    return cap
end

-- A cap below the card's min is not set by the plugin: that job runs at whatever it likes.
local function watts_of(gpu, cap)
    if cap == nil then return gpu.default or gpu.max end
    if cap == "off" or cap < gpu.min then return gpu.max end
    return math.min(gpu.max, cap)
end

-- Of a type that the table does not know, or of none that was asked for: the line "*", else the dearest.
local function gpu_watts(t, kind, cap)
    local gpu = t.gpus[string.lower(kind)] or t.gpus["*"]
    if gpu then return watts_of(gpu, cap) end
    local most = 0
    for _, each in pairs(t.gpus) do most = math.max(most, watts_of(each, cap)) end
    return most
end

-- "gres:gpu:h100:2,gres:gpu:1" (or "gres/gpu=2"): how many GPUs that is, and their watts.
local function gpus_in(t, text, cap)
    local count, watts = 0, 0
    if type(text) ~= "string" then return 0, 0 end
    for word in string.gmatch(text, "[^,]+") do
        local rest = string.match(word, "^gres[:/](.*)$") or word
        local more = string.match(rest, "^gpu$") and "" or string.match(rest, "^gpu([:=].*)$")
        if more then
            local n = tonumber(string.match(more, "[:=](%d+)$") or "1")
            local kind = string.match(more, "^:([^:=]*[^:=%d][^:=]*)") or ""
            count = count + n
            watts = watts + n * gpu_watts(t, kind, cap)
        end
    end
    return count, watts
end

-- get(NAME) is a field of the job. What it asks for, read once: its strings are as long as a user likes.
local function size_of(t, get)
    local cap = cap_of(get("spank_job_env"))
    local tasks = known32(get("num_tasks")) or 1
    local cpus = math.max(known32(get("min_cpus")) or 1, tasks * (known16(get("cpus_per_task")) or 1))
    local job_gpus, job_watts = gpus_in(t, get("tres_per_job"), cap)
    local node_gpus, node_watts = gpus_in(t, get("tres_per_node"), cap)
    local task_gpus, task_watts = gpus_in(t, get("tres_per_task"), cap)
    local socket_gpus, socket_watts = gpus_in(t, get("tres_per_socket"), cap)
    -- Of a range of nodes the most; where none is said, as few as hold it.
    local nodes = math.max(known32(get("min_nodes")) or 0, known32(get("max_nodes")) or 0)
    if nodes == 0 then
        local per_node = known16(get("ntasks_per_node"))
        nodes = math.max(1, per_node and math.ceil(tasks / per_node) or 1,
            t.node.cpus and math.ceil(cpus / t.node.cpus) or 1,
            t.node.gpus and math.ceil(math.max(job_gpus, task_gpus * tasks) / t.node.gpus) or 1)
    end
    local sockets = nodes * (known16(get("sockets_per_node")) or 1)
    local gpus, gpu_total = job_gpus, job_watts
    for _, row in ipairs({ { node_gpus, node_watts, nodes }, { task_gpus, task_watts, tasks },
        { socket_gpus, socket_watts, sockets } }) do
        gpus = math.max(gpus, row[1] * row[3])
        gpu_total = math.max(gpu_total, row[2] * row[3])
    end
    return { cap = cap, nodes = nodes, cpus = cpus, gpus = gpus, watts = gpu_total, is_whole = get("shared") == 0 }
end

-- How many watts that takes in a partition, and that in words.
local function price(t, part, size)
    local cap, nodes, cpus, gpus, gpu_total = size.cap, size.nodes, size.cpus, size.gpus, size.watts
    if size.is_whole or part.exclusive then -- Slurm gives such a job all that is on its nodes
        local more = math.max(0, nodes * (t.node.gpus or 0) - gpus)
        gpus, gpu_total = gpus + more, gpu_total + more * gpu_watts(t, "", cap)
        cpus = math.max(cpus, nodes * (t.node.cpus or 0))
    end
    local host = nodes * (part.host or t.host) + cpus * (part.cpu or t.cpu)
    local words = ""
    if gpus > 0 then
        words = string.format("%d GPU%s at %d W%s", gpus, gpus > 1 and "s" or "", math.floor(gpu_total / gpus + 0.5),
            type(cap) == "number" and "" or " (no cap was asked for: --power-cap lowers it)")
    end
    if host > 0 then
        words = words .. (words ~= "" and ", " or "") .. string.format("%d W for %d node%s", host, nodes,
            nodes > 1 and "s" or "")
    end
    return math.min(WATTS_MAX, math.ceil(gpu_total + host)), words
end

-- What a job needs of each licence, by the partitions it may run in; and in words.
local function needs_of(t, get, part_list)
    local names, needs, said = {}, {}, ""
    local asked = get("partition")
    if type(asked) == "string" and asked ~= "" then
        for name in string.gmatch(asked, "[^,]+") do names[#names + 1] = name end
    else
        for name, part in pairs(part_list or {}) do
            if part.flag_default == 1 then names[#names + 1] = name end
        end
    end
    if #names == 0 then names[1] = "" end
    local size, seen, other = size_of(t, get), {}, {}
    for _, name in ipairs(names) do
        local part = t.partitions[name] or other -- all others are alike
        if not part.off and not seen[part] then
            seen[part] = true
            local licence = part.licence or t.licence
            local watts, words = price(t, part, size)
            if watts > (needs[licence] or 0) then needs[licence], said = watts, words end
        end
    end
    return needs, said
end

-- The licences of a job: those it asked for that are not ours, then ours, in a fixed order.
local function licences_with(t, asked, needs)
    local ours, list, names = { [t.licence] = true }, {}, {}
    for _, part in pairs(t.partitions) do
        if part.licence then ours[part.licence] = true end
    end
    for word in string.gmatch(type(asked) == "string" and asked or "", "[^,;]+") do
        if not ours[string.match(word, "^%s*([^:=@%s]+)") or ""] then list[#list + 1] = word end
    end
    for name in pairs(needs) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do list[#list + 1] = name .. ":" .. needs[name] end
    return table.concat(list, ",")
end

local function held(text, name)
    for word in string.gmatch(type(text) == "string" and text or "", "[^,;]+") do
        local licence, count = string.match(word, "^%s*([^:=@%s]+)[:=](%d+)")
        if licence == name then return tonumber(count) end
    end
    return 0
end

local function tell(t, needs, words)
    for name, watts in pairs(needs) do
        if t.tell then slurm.log_user("wattune: %d W of the power budget (licence %s): %s", watts, name, words) end
    end
end

local function submit(job_desc, part_list)
    local t = load_table()
    if not t then return end
    local needs, words = needs_of(t, function(name) return job_desc[name] end, part_list)
    local licences = licences_with(t, job_desc.licenses, needs)
    if licences ~= "" or job_desc.licenses then job_desc.licenses = licences end
    tell(t, needs, words)
end

-- What a user may change of a job must not take it out of the budget. One that waits is put right; one that
-- runs keeps its licences. job_state is the state and flags above it: a job that was requeued and held is
-- PENDING and JOB_REQUEUE_HOLD.
local SIZES = { "licenses", "tres_per_job", "tres_per_node", "tres_per_task", "tres_per_socket", "partition" }
local COUNTS = { "min_nodes", "max_nodes", "num_tasks", "min_cpus" }

local function modify(job_desc, job_rec, part_list, uid)
    local t = uid ~= 0 and load_table()
    if not t then return end
    if job_rec.job_state % 256 ~= 0 then
        return job_desc.licenses ~= nil and slurm.ERROR or slurm.SUCCESS
    end
    local is_changed = known16(job_desc.cpus_per_task) or known16(job_desc.ntasks_per_node) or
        flag16(job_desc.shared)
    for _, name in ipairs(SIZES) do is_changed = is_changed or job_desc[name] ~= nil end
    for _, name in ipairs(COUNTS) do is_changed = is_changed or known32(job_desc[name]) end
    if not is_changed then return end
    local is_count = {}
    for _, name in ipairs(COUNTS) do is_count[name] = true end
    local function get(name)
        local new = job_desc[name]
        if name == "spank_job_env" then return job_rec[name] end
        if is_count[name] then return known32(new) or job_rec[name] end
        if name == "shared" then return flag16(new) or job_rec[name] end
        if name == "cpus_per_task" or name == "ntasks_per_node" or name == "sockets_per_node" then
            return known16(new) or job_rec[name]
        end
        if new ~= nil then return new end
        return job_rec[name]
    end
    local needs = needs_of(t, get, part_list)
    if get("num_tasks") == nil and get("tres_per_task") then -- Slurm does not say how many tasks it has
        for name, watts in pairs(needs) do needs[name] = math.max(watts, held(job_rec.licenses, name)) end
    end
    if get("shared") == nil then
        -- job_rec does not say whether it has whole nodes (22.05): what it holds does.
        local function whole_of(from)
            return function(name)
                if name == "shared" then return 0 end
                return from(name)
            end
        end
        local before = needs_of(t, whole_of(function(name) return job_rec[name] end), part_list)
        for name, watts in pairs(needs_of(t, whole_of(get), part_list)) do
            local had = held(job_rec.licenses, name)
            if before[name] and had > 0 and had >= before[name] then needs[name] = watts end
        end
    end
    local asked = job_desc.licenses
    if asked == nil then asked = job_rec.licenses end
    local licences = licences_with(t, asked, needs)
    if licences ~= (job_rec.licenses or "") or job_desc.licenses ~= nil then
        job_desc.licenses = licences -- log_user is not heard here (22.05)
    end
end

local function guarded(what, ...)
    local ok, got = pcall(what, ...)
    if not ok then pcall(complain, "this job is taken as it came: " .. tostring(got)) end
    return ok and got or slurm.SUCCESS
end

function wattune_submit(job_desc, part_list, uid)
    guarded(submit, job_desc, part_list)
end

function wattune_modify(job_desc, job_rec, part_list, uid)
    return guarded(modify, job_desc, job_rec, part_list, uid)
end

function slurm_job_submit(job_desc, part_list, uid)
    wattune_submit(job_desc, part_list, uid)
    return slurm.SUCCESS
end

function slurm_job_modify(job_desc, job_rec, part_list, uid)
    return wattune_modify(job_desc, job_rec, part_list, uid)
end

return slurm.SUCCESS
