# Medians and ratios of interleaved runs.
#
#   awk -v format=markdown|json -v unit=M/s -v scale=1e-6 -f stats.awk RATIOS RESULTS
#
# A line of RESULTS:  round <TAB> case <TAB> value
# A line of RATIOS:   name <TAB> case[;case] <TAB> case[;case] or 1 <TAB> min|max|- <TAB> target
#
# Of several cases the one with the best median stands for them (the highest; with `max`, where less
# is better, the lowest). A ratio is taken round by round, since the two sides of a round were
# measured one after the other and share the machine's mood; its median is what counts.

BEGIN { FS = "\t" }

FNR == NR && FILENAME ~ /ratios/ { ratio[++ratios] = $0; next }

{
  if (!($2 in count)) order[++cases] = $2
  value[$2, ++count[$2]] = $3
  at[$2, $1] = $3
  if ($1 > rounds) rounds = $1
}

# The median of list[1..n]; sorts the list.
function median(list, n,    i, j, held) {
  for (i = 2; i <= n; i++) {
    held = list[i]
    for (j = i - 1; j >= 1 && list[j] > held; j--) list[j + 1] = list[j]
    list[j + 1] = held
  }
  return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

function load(name,    i) {
  for (i = 1; i <= count[name]; i++) sorted[i] = value[name, i] + 0
  return median(sorted, count[name])
}

# The case of a list with the best median; empty if none was measured.
function best(list, less,    names, n, i, m, chosen, top) {
  n = split(list, names, ";")
  for (i = 1; i <= n; i++) {
    if (!(names[i] in count)) continue
    m = load(names[i])
    if (chosen == "" || (less ? m < top : m > top)) { chosen = names[i]; top = m }
  }
  return chosen
}

function show(x) {
  x = x * scale
  return sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : "%.2f", x)
}

END {
  if (format == "markdown") {
    print "| case | median, " unit " | min – max | spread | runs |"
    print "|---|--:|--:|--:|--:|"
  }
  for (c = 1; c <= cases; c++) {
    name = order[c]
    m = load(name)
    low = sorted[1]
    high = sorted[count[name]]
    spread = m > 0 ? (high - low) / m * 100 : 0
    if (format == "markdown")
      printf "| %s | %s | %s – %s | %.0f %% | %d |\n", name, show(m), show(low), show(high), spread, count[name]
    else
      printf "{\"case\":\"%s\",\"median\":%.6g,\"min\":%.6g,\"max\":%.6g,\"runs\":%d}\n", name, m, low, high, count[name]
  }
  for (r = 1; r <= ratios; r++) print_ratio(ratio[r])
}

function print_ratio(line,    part, above, below, n, i, m, kind, met, verdict, target) {
  split(line, part, "\t")
  kind = part[4]
  above = best(part[2], kind == "max")
  below = part[3] == "1" ? "1" : best(part[3], kind == "max")
  if (above == "" || below == "") return
  for (i = 1; i <= rounds; i++) {
    if (below == "1" && (above, i) in at) sorted[++n] = at[above, i] + 0
    else if ((above, i) in at && (below, i) in at && at[below, i] > 0) sorted[++n] = at[above, i] / at[below, i]
  }
  if (n == 0) return
  m = median(sorted, n)
  target = part[5]
  met = kind == "-" ? "" : (kind == "min" ? m >= target : m <= target) ? "met" : "not met"
  if (format == "json") {
    printf "{\"ratio\":\"%s\",\"of\":\"%s\",\"to\":\"%s\",\"median\":%.4g,\"min\":%.4g,\"max\":%.4g", part[1], above, below, m, sorted[1], sorted[n]
    if (kind != "-") printf ",\"target\":\"%s %s\",\"met\":%s", kind == "min" ? ">=" : "<=", target, met == "met" ? "true" : "false"
    print "}"
    return
  }
  if (!headed++) {
    print ""
    print "| ratio | of | to | median | min – max | target | |"
    print "|---|---|---|--:|--:|--:|---|"
  }
  if (kind == "min") target = "≥ " target
  if (kind == "max") target = "≤ " target
  if (kind == "-") target = ""
  printf "| %s | %s | %s | %.2f | %.2f – %.2f | %s | %s |\n", part[1], above, below, m, sorted[1], sorted[n], target, met
}
