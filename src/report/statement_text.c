/* statement_text: the Energy Statement as Markdown and as LaTeX. Both say the same in the same
 * order: a list of facts, some with facts below them. A list, as it goes on over pages.
 *
 * Tags, host names, device names and commands are anybody's text: whatever is in them is shown and
 * never obeyed. LaTeX's own commands only, so that a document needs no package for it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/statement.h"
#include "report/words.h"

enum { LISTED_MOST = 40 }; /* of gaps, runs and commands; the JSON has all */

struct doc {
    FILE *out;
    bool is_latex, has_subs;
};

/* ---- anybody's text ---- */

/* One character of UTF-8, *text moved behind it; 0xfffd for what is none. */
static unsigned next_character(const char **text)
{
    const unsigned char *s = (const unsigned char *)*text;
    size_t more = s[0] >= 0xf0 ? 3 : s[0] >= 0xe0 ? 2 : s[0] >= 0xc2 ? 1 : 0;
    unsigned c = s[0] < 0x80 ? s[0] : s[0] & (0x3fu >> more);
    bool is_bad = s[0] >= 0x80 && (!more || s[0] > 0xf4);
    for (size_t i = 1; i <= more && !is_bad; i++) {
        is_bad = (s[i] & 0xc0) != 0x80;
        c = c << 6 | (s[i] & 0x3f);
    }
    *text += is_bad ? 1 : more + 1;
    return is_bad ? 0xfffd : c;
}

/* Letters of Latin-1 that any LaTeX has in any font: accents and ligatures, without the Icelandic
 * ones. */
static bool is_latex_letter(unsigned c)
{
    return c >= 0xc0 && c <= 0xff && c != 0xd0 && c != 0xd7 && c != 0xde && c != 0xf0 &&
           c != 0xf7 && c != 0xfe;
}

static void put_latex(FILE *out, const char *text)
{
    static const struct {
        char c;
        const char *words;
    } marks[] = {
        {'\\', "\\textbackslash{}"},
        {'{', "\\{"},
        {'}', "\\}"},
        {'$', "\\$"},
        {'&', "\\&"},
        {'#', "\\#"},
        {'%', "\\%"},
        {'_', "\\_"},
        {'^', "\\textasciicircum{}"},
        {'~', "\\textasciitilde{}"},
        {'<', "\\textless{}"},
        {'>', "\\textgreater{}"},
        {'|', "\\textbar{}"},
        {'"', "{\\char34}"},
        {'`', "\\textasciigrave{}"},
        {'[', "{[}"},
        {']', "{]}"},
        {'/', "/\\allowbreak{}"},
    };
    while (*text) {
        unsigned c = next_character(&text);
        const char *words = NULL;
        for (size_t i = 0; i < WT_COUNTOF(marks); i++)
            if (c == (unsigned char)marks[i].c)
                words = marks[i].words;
        if (words)
            fputs(words, out);
        else if (c < 0x20 || c == 0x7f)
            fputc(' ', out);
        else if (c < 0x7f) /* "--", ",," and "''" are other signs to LaTeX */
            fprintf(out, strchr("-,'", (int)c) && *text == (char)c ? "%c{}" : "%c", (int)c);
        else if (is_latex_letter(c))
            fprintf(out, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 0x3f)));
        else
            fprintf(out, "{[}U+%04X{]}", c);
    }
}

/* What a character is written as: itself, a blank for a control character, U+FFFD for no UTF-8. */
static void put_character(FILE *out, const char *from, const char *to, unsigned c)
{
    if (c == 0xfffd)
        fputs("\xef\xbf\xbd", out);
    else if (c < 0x20 || c == 0x7f)
        fputc(' ', out);
    else
        fwrite(from, 1, (size_t)(to - from), out);
}

static void put_markdown(FILE *out, const char *text, bool is_code)
{
    while (*text) {
        const char *from = text;
        unsigned c = next_character(&text);
        if (!is_code && c < 0x80 && strchr("\\`*_{}[]<>#|~&!$", (int)c))
            fputc('\\', out);
        put_character(out, from, text, c);
    }
}

static void put(const struct doc *d, const char *text)
{
    if (d->is_latex)
        put_latex(d->out, text);
    else
        put_markdown(d->out, text, false);
}

/* A command. In Markdown between more backticks than it has in a row, so that it cannot end early.
 */
static void put_code(const struct doc *d, const char *text)
{
    size_t most = 0, row = 0;
    if (d->is_latex) {
        fputs("\\texttt{", d->out);
        put_latex(d->out, text);
        fputc('}', d->out);
        return;
    }
    for (const char *p = text; *p; p++) {
        row = *p == '`' ? row + 1 : 0;
        most = row > most ? row : most;
    }
    for (size_t i = 0; i <= most; i++)
        fputc('`', d->out);
    fputc(' ', d->out);
    put_markdown(d->out, text, true);
    fputc(' ', d->out);
    for (size_t i = 0; i <= most; i++)
        fputc('`', d->out);
}

/* ---- facts ---- */

static void end_subs(struct doc *d)
{
    if (d->has_subs && d->is_latex)
        fputs("\\end{itemize}\n", d->out);
    d->has_subs = false;
}

static void say(struct doc *d, const char *fmt, va_list args) WT_PRINTF(2, 0);
static void say(struct doc *d, const char *fmt, va_list args)
{
    char text[1400];
    vsnprintf(text, sizeof(text), fmt, args);
    put(d, text);
}

static void fact(struct doc *d, const char *name, const char *fmt, ...) WT_PRINTF(3, 4);
static void fact(struct doc *d, const char *name, const char *fmt, ...)
{
    va_list args;
    end_subs(d);
    fprintf(d->out, d->is_latex ? "\\item[%s] " : "- **%s**: ", name);
    va_start(args, fmt);
    say(d, fmt, args);
    va_end(args);
    fputc('\n', d->out);
}

static void begin_sub(struct doc *d)
{
    if (d->is_latex && !d->has_subs)
        fputs("\\begin{itemize}\n", d->out);
    d->has_subs = true;
    fputs(d->is_latex ? "\\item{} " : "  - ", d->out);
}

static void sub(struct doc *d, const char *fmt, ...) WT_PRINTF(2, 3);
static void sub(struct doc *d, const char *fmt, ...)
{
    va_list args;
    begin_sub(d);
    va_start(args, fmt);
    say(d, fmt, args);
    va_end(args);
    fputc('\n', d->out);
}

/* ---- figures ---- */

struct unit {
    const char *name;
    double factor;
};
static const struct unit kwh_units[] = {{"MWh", 1e3}, {"kWh", 1}, {"Wh", 1e-3}, {"mWh", 1e-6}};
static const struct unit gram_units[] = {{"t", 1e6}, {"kg", 1e3}, {"g", 1}, {"mg", 1e-3}};

/* "1.028 Wh [0.973, 1.083]": two digits of the half width, as joules are written. */
static const char *interval(const struct wt_estimate *e, const struct unit *units, char *buf,
                            size_t size)
{
    size_t i = 0;
    if (!isfinite(e->value))
        return wt_text(buf, size, "unknown");
    while (i < 3 && fabs(e->value) < 0.9995 * units[i].factor)
        i++;
    double factor = units[i].factor, half = (e->high - e->low) / 2 / factor;
    int decimals = 3;
    if (isfinite(half) && half > 0)
        decimals = (int)fmin(6, fmax(0, 1 - floor(log10(half))));
    if (!isfinite(half))
        return wt_text(buf, size, "%.*f %s [no bound]", decimals, e->value / factor, units[i].name);
    return wt_text(buf, size, "%.*f %s [%.*f, %.*f]", decimals, e->value / factor, units[i].name,
                   decimals, e->low / factor, decimals, e->high / factor);
}

static const char *energy(const struct wt_joules *joules, char *buf, size_t size)
{
    return wt_format_interval(buf, size, joules);
}

static const char *least(const struct wt_statement *s)
{
    return s->is_whole || s->sum.provenance == WT_PROV_UNKNOWN ? "" : "at least ";
}

static const char *how_ended(const struct wt_run *run, char *buf, size_t size)
{
    if (run->state == WT_RUN_RUNNING)
        return wt_text(buf, size, "still going");
    if (run->state == WT_RUN_INCOMPLETE)
        return wt_text(buf, size, "cut short");
    if (wt_run_is_unstarted(run))
        return wt_text(buf, size, "did not start, exit code %d", run->exit_code);
    return run->exit_code ? wt_text(buf, size, "failed, exit code %d", run->exit_code)
                          : wt_text(buf, size, "ended well");
}

/* ---- the facts in order ---- */

static void tell_runs(struct doc *d, const struct wt_statement *s)
{
    char text[96], first[32], last[32];
    wt_time_text(first, sizeof(first), s->first_unix_ns);
    wt_time_text(last, sizeof(last), s->last_unix_ns);
    fact(d, "Runs", "%zu, all that are stored with the tag \"%s\", from %s to %s", s->run_count,
         s->tag, first, last);
    sub(d, "ended well: %zu", s->done);
    if (s->failed)
        sub(d, "failed: %zu; took %s, which is in all figures", s->failed,
            energy(&s->failed_energy, text, sizeof(text)));
    else
        sub(d, "failed: none");
    if (s->unstarted)
        sub(d, "did not start, as the command was not there or no program: %zu; in no figure",
            s->unstarted);
    if (s->incomplete && s->incomplete_energy.provenance == WT_PROV_UNKNOWN)
        sub(d, "cut short: %zu; nothing is known of their energy", s->incomplete);
    else if (s->incomplete)
        sub(d, "cut short: %zu; what is known of their energy, %s, is in all figures",
            s->incomplete, energy(&s->incomplete_energy, text, sizeof(text)));
    if (s->running)
        sub(d, "still going: %zu", s->running);
    if (s->sweeps)
        sub(d, "of sweeps: %zu (sweeps: %zu)", s->swept, s->sweeps);
    if (s->nodes)
        sub(d, "of jobs of many ranks, one of each node: %zu", s->nodes);
    if (s->trials)
        sub(d, "trials with parameters of the command: %zu", s->trials);
    if (s->races) {
        size_t rest = s->raced - s->raced_finished - s->raced_stopped - s->raced_failed;
        char cut[64] = "";
        if (rest)
            wt_text(cut, sizeof(cut), "; in a race that was not decided: %zu", rest);
        sub(d,
            "trainings raced against each other: %zu (races: %zu); came to their ends: %zu; "
            "stopped early: %zu; failed: %zu%s",
            s->raced, s->races, s->raced_finished, s->raced_stopped, s->raced_failed, cut);
    }
}

static void tell_hardware(struct doc *d, const struct wt_statement *s)
{
    char text[700];
    fact(d, "Hardware", "%s%s", wt_statement_mark(s), wt_statement_hardware(s, text, sizeof(text)));
    for (size_t i = 0; i < s->run_count; i++)
        if (wt_statement_is_new_host(s, i))
            sub(d, "on %s: %s", s->runs[i].host, s->runs[i].system);
    bool is_short = s->gpu_hours < 0.01;
    fact(d, "Time", "%s summed over the runs; %.4g GPU %s, of every GPU that was measured",
         wt_format_seconds(text, sizeof(text), s->wall_s),
         is_short ? s->gpu_hours * 3600 : s->gpu_hours, is_short ? "seconds" : "hours");
}

static void tell_energy(struct doc *d, const struct wt_statement *s)
{
    char joules[96], kwh[96];
    struct wt_estimate e = {NAN, NAN, NAN};
    if (s->sum.provenance != WT_PROV_UNKNOWN)
        e = (struct wt_estimate){s->sum.energy_j / WT_J_PER_KWH, s->sum.low_j / WT_J_PER_KWH,
                                 s->sum.high_j / WT_J_PER_KWH};
    if (s->sum.provenance == WT_PROV_UNKNOWN)
        fact(d, "Energy", "%sunknown", wt_statement_mark(s));
    else
        fact(d, "Energy", "%s%s%s (%s); weakest part: %s", wt_statement_mark(s), least(s),
             energy(&s->sum, joules, sizeof(joules)), interval(&e, kwh_units, kwh, sizeof(kwh)),
             wt_provenance_name(s->sum.provenance));
    for (size_t i = 0; i < s->part_count; i++) {
        const struct wt_statement_part *p = &s->parts[i];
        const char *name = wt_provenance_name(p->provenance);
        const char *method = wt_provenance_name(p->method);
        /* Of an estimate it does not matter how it was added up. */
        bool is_alike = p->provenance == p->method || p->provenance == WT_PROV_MODELED ||
                        p->method == WT_PROV_UNKNOWN;
        sub(d, "%s%s%s: %s, in %zu of the runs", name, is_alike ? "" : ", read as ",
            is_alike ? "" : method, energy(&p->energy, joules, sizeof(joules)), p->runs);
    }
    if (s->host_runs)
        sub(d, "given, not measured: %s for the rest of the node, in %zu of the runs (no bound)",
            wt_format_joules(joules, sizeof(joules), s->host_j), s->host_runs);
    if (s->modeled.provenance != WT_PROV_UNKNOWN)
        sub(d, "not in this: %s, modeled, of devices that no sensor measured",
            energy(&s->modeled, joules, sizeof(joules)));
}

static void tell_facility(struct doc *d, const struct wt_statement *s)
{
    char text[200];
    if (isnan(s->pue)) {
        fact(d, "PUE", "not included: the figures are of the machines alone");
    } else {
        fact(d, "PUE", "%.6g%s%s%s", s->pue, s->pue_source[0] ? " (" : "", s->pue_source,
             s->pue_source[0] ? ")" : "");
        fact(d, "Facility energy", "%s%s%s", wt_statement_mark(s), least(s),
             interval(&s->facility_kwh, kwh_units, text, sizeof(text)));
    }
    fact(d, "Region", "%s",
         s->has_region && (s->region.name[0] || s->region.id[0])
             ? wt_statement_place(s, text, sizeof(text))
             : "not given");
    if (!s->has_region || isnan(s->region.carbon_g)) {
        fact(d, "CO2e", "not known: no carbon factor was given");
        return;
    }
    fact(d, "Carbon factor", "%.6g g CO2e per kWh; source: %s; date: %s", s->region.carbon_g,
         s->region.source, s->region.date[0] ? s->region.date : "its source names none");
    fact(d, "CO2e", "%s%s%s, %s", wt_statement_mark(s), least(s),
         interval(&s->co2_g, gram_units, text, sizeof(text)),
         isnan(s->pue) ? "without the facility's share" : "with the facility's share");
}

static void tell_missing(struct doc *d, const struct wt_statement *s)
{
    char text[300], name[128], bound[48];
    size_t listed = 0;
    fact(d, "Not measured", "%s",
         s->missing_count               ? "what follows"
         : s->unstarted == s->run_count ? "no command started"
                                        : "nothing, as the meter of the node sees all of it");
    for (size_t i = 0; i < s->missing_count; i++)
        sub(d, "%s", s->missing[i].text);
    if (s->unknown_count)
        fact(d, "Energy not known", "wholly or in part, of runs: %zu", s->unknown_count);
    for (size_t i = 0; i < s->unknown_count; i++) {
        const struct wt_run *run = &s->runs[s->unknown[i]];
        wt_statement_why(run, text, sizeof(text));
        sub(d, "%s: %s", run->id, text);
    }
    if (!s->gap_count)
        return;
    if (isfinite(s->gap_j))
        fact(d, "Gaps",
             "spans without a reading: %zu; at most %s were drawn unseen, and the "
             "intervals hold it",
             s->gap_count, wt_format_joules(bound, sizeof(bound), s->gap_j));
    else
        fact(d, "Gaps", "spans without a reading: %zu; of one at least there is no bound",
             s->gap_count);
    for (size_t i = 0; i < s->run_count; i++)
        for (size_t k = 0; k < s->runs[i].gap_count; k++) {
            const struct wt_run_gap *gap = &s->runs[i].gaps[k];
            if (!wt_gap_is_said(&s->runs[i], k) || listed++ >= LISTED_MOST)
                continue;
            sub(d, "%s, %s, %.3f to %.3f s: %s unseen at most (%s)", s->runs[i].id,
                wt_device_title_of(&s->runs[i], gap->device_id, name, sizeof(name)), gap->from_s,
                gap->to_s, wt_format_joules(bound, sizeof(bound), gap->bound_j), gap->why);
        }
    if (listed > LISTED_MOST)
        sub(d, "and %zu more, which the JSON has", listed - LISTED_MOST);
}

static void tell_list(struct doc *d, const struct wt_statement *s)
{
    char time[48], joules[96], end[48];
    size_t listed = 0;
    fact(d, "Each run", "time, energy of what is counted, how it ended");
    for (size_t i = 0; i < s->run_count && i < LISTED_MOST; i++) {
        const struct wt_run *run = &s->runs[i];
        sub(d, "%s: %s, %s, %s%s%s", run->id, wt_format_seconds(time, sizeof(time), run->wall_s),
            wt_run_is_unstarted(run) ? "nothing" : energy(&run->total, joules, sizeof(joules)),
            how_ended(run, end, sizeof(end)), run->label[0] ? "; " : "", run->label);
    }
    if (s->run_count > LISTED_MOST)
        sub(d, "and %zu more, which the JSON has", s->run_count - LISTED_MOST);
    fact(d, "Commands", "as they were run");
    for (size_t i = 0; i < s->run_count; i++) {
        if (!wt_statement_is_new_command(s, i) || listed++ >= LISTED_MOST)
            continue;
        begin_sub(d);
        put_code(d, s->runs[i].command);
        fputc('\n', d->out);
    }
    if (listed > LISTED_MOST)
        sub(d, "and %zu more, which the JSON has", listed - LISTED_MOST);
}

static bool is_all_modeled(const struct wt_statement *s)
{
    for (size_t i = 0; i < s->part_count; i++)
        if (s->parts[i].provenance != WT_PROV_MODELED)
            return false;
    return s->part_count > 0;
}

static void write_facts(struct doc *d, const struct wt_statement *s)
{
    tell_runs(d, s);
    tell_hardware(d, s);
    tell_energy(d, s);
    tell_facility(d, s);
    tell_missing(d, s);
    tell_list(d, s);
    fact(
        d, "How",
        "%s and summed by Wattune %s; brackets are 95 %% intervals, and a sum of runs adds "
        "them; "
        "a device counts whole, whoever used it; equivalents (cars, trees) are left out on purpose",
        is_all_modeled(s) ? "estimated from load" : "measured", s->version);
    end_subs(d);
}

static void write_banner(struct doc *d, const struct wt_statement *s)
{
    static const char *const words[] = {
        "", "no real device was measured: these figures are of a model, and of no hardware",
        "a recorded machine: nothing was measured here"};
    if (s->kind == WT_STATEMENT_REAL)
        return;
    fputs(d->is_latex ? "\\textbf{" : "> **", d->out);
    put(d, wt_statement_mark(s));
    put(d, s->origin);
    fputs(d->is_latex ? "}: " : "**: ", d->out);
    put(d, words[s->kind]);
    fputs("\n\n", d->out);
}

static char *write_document(const struct wt_statement *s, bool is_latex)
{
    char *text = NULL;
    size_t size = 0;
    struct doc d = {.out = open_memstream(&text, &size), .is_latex = is_latex};
    struct wt_plain plain;
    if (!d.out)
        return NULL;
    wt_plain_enter(&plain);
    fputs(is_latex ? "% \\input this in a document; it needs no package.\n\\section*{" : "# ",
          d.out);
    put(&d, wt_statement_mark(s));
    fprintf(d.out, "%s",
            s->kind == WT_STATEMENT_REAL ? "Energy statement: " : "energy statement: ");
    put(&d, s->tag);
    fputs(is_latex ? "}\n\\begingroup\\sloppy\n" : "\n\n", d.out);
    write_banner(&d, s);
    if (is_latex)
        fputs("\\begin{description}\n", d.out);
    write_facts(&d, s);
    if (is_latex)
        fputs("\\end{description}\n\\endgroup\n", d.out);
    wt_plain_leave(&plain);
    if (fclose(d.out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

char *wt_statement_to_markdown(const struct wt_statement *statement)
{
    return write_document(statement, false);
}

char *wt_statement_to_latex(const struct wt_statement *statement)
{
    return write_document(statement, true);
}

/* ---- words that other documents share ---- */

const char *wt_statement_mark(const struct wt_statement *s)
{
    static const char *const marks[] = {"", "EMULATED ", "REPLAYED "};
    return marks[s->kind];
}

const char *wt_statement_hardware(const struct wt_statement *s, char *buf, size_t size)
{
    buf[0] = '\0';
    for (size_t i = 0; i < s->device_count; i++) {
        const struct wt_statement_device *d = &s->devices[i];
        const char *modeled = strstr(d->name, ", modeled: ");
        size_t used = strlen(buf);
        if (d->kind == WT_DEVICE_NODE || (d->is_modeled && d->kind == WT_DEVICE_DRAM))
            continue;
        wt_text(buf + used, size - used, "%s%zu x %s%s", used ? ", " : "", d->count,
                modeled ? modeled + 11 : d->name, d->is_modeled ? " (modeled)" : "");
    }
    if (buf[0])
        return buf;
    /* A meter from outside is no part of the machine: it saw all of it. */
    for (size_t i = 0; i < s->device_count; i++) {
        const struct wt_statement_device *d = &s->devices[i];
        size_t used = strlen(buf);
        if (d->kind == WT_DEVICE_NODE && !d->is_modeled)
            wt_text(buf + used, size - used, "%s%s", used ? ", " : "",
                    d->name + (strncmp(d->name, "node ", 5) == 0 ? 5 : 0));
    }
    char meters[400];
    wt_text(meters, sizeof(meters), "%.399s", buf);
    return meters[0] ? wt_text(buf, size, "the node as a whole (%s)", meters)
                     : wt_text(buf, size, "no device was measured");
}

const char *wt_statement_place(const struct wt_statement *s, char *buf, size_t size)
{
    const struct wt_region *r = &s->region;
    if (!s->has_region)
        return wt_text(buf, size, "%s", "");
    if (!r->name[0] || strcmp(r->name, r->id) == 0)
        return wt_text(buf, size, "%s", r->id);
    return r->id[0] ? wt_text(buf, size, "%s (%s)", r->name, r->id)
                    : wt_text(buf, size, "%s", r->name);
}
