/* statement_card: the Energy Statement in the forms that others read: the block of a Hugging Face
 * model card (huggingface.co/docs/hub/model-cards-co2) and CodeCarbon's emissions.csv (its
 * EmissionsData, version 3.0). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/statement.h"
#include "report/words.h"

/* ---- a model card ---- */

/* A YAML scalar between double quotes, which may hold anything. */
static void put_yaml(FILE *out, const char *key, const char *text)
{
    fprintf(out, "  %s: \"", key);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text, out);
    }
    fputs("\"\n", out);
}

/* Six digits at least, and no exponent: "1e-05" is no number to every YAML. */
static int decimals_of(double value)
{
    return value > 0 ? (int)fmin(15, fmax(0, 5 - floor(log10(value)))) : 1;
}

static void write_card(FILE *out, const struct wt_statement *s)
{
    char text[900], hardware[700];
    fprintf(out, "co2_eq_emissions:\n  emissions: %.*f # g CO2e, 95 %% interval",
            decimals_of(s->co2_g.value), s->co2_g.value);
    if (isfinite(s->co2_g.high))
        fprintf(out, " %.*f to %.*f", decimals_of(s->co2_g.low), s->co2_g.low,
                decimals_of(s->co2_g.high), s->co2_g.high);
    fprintf(out, "%s\n",
            s->is_whole ? "" : "; at least, as the energy of some runs is not wholly known");
    wt_text(text, sizeof(text),
            "%s%s%sWattune %s, %zu runs (%zu failed), energy: %s, %s, carbon factor: %.200s%s%s",
            wt_statement_mark(s), s->origin,
            s->kind == WT_STATEMENT_EMULATED   ? ", no real device was measured: "
            : s->kind == WT_STATEMENT_REPLAYED ? ", nothing was measured here: "
                                               : "",
            s->version, s->run_count - s->unstarted, s->failed,
            wt_provenance_name(s->sum.provenance),
            isnan(s->pue) ? "PUE not included" : "PUE included", s->region.source,
            s->region.date[0] ? ", " : "", s->region.date);
    put_yaml(out, "source", text);
    if (s->training_type[0])
        put_yaml(out, "training_type", s->training_type);
    if (s->region.name[0] || s->region.id[0])
        put_yaml(out, "geographical_location", wt_statement_place(s, text, sizeof(text)));
    wt_statement_hardware(s, hardware, sizeof(hardware));
    wt_text(text, sizeof(text), "%s%s", wt_statement_mark(s), hardware);
    put_yaml(out, "hardware_used", text);
}

int wt_statement_to_model_card(const struct wt_statement *statement, char **ret_text,
                               struct wt_error *err)
{
    char *text = NULL;
    size_t size = 0;
    struct wt_plain plain;
    if (isnan(statement->co2_g.value)) {
        bool has_factor = statement->has_region && !isnan(statement->region.carbon_g);
        wt_fail(err, WT_E_STATE, "a model card states g CO2e, and %s",
                has_factor ? "no energy of these runs is known" : "no carbon factor was given");
        wt_fix(err, "%s",
               has_factor ? "`wattune doctor` says what can be measured here"
                          : "give --region, or --carbon-intensity");
        return WT_E_STATE;
    }
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return wt_fail(err, WT_E_NOMEM, "no memory for a model card");
    wt_plain_enter(&plain);
    write_card(out, statement);
    wt_plain_leave(&plain);
    if (fclose(out) != 0) {
        free(text);
        return wt_fail(err, WT_E_NOMEM, "no memory for a model card");
    }
    *ret_text = text;
    return 0;
}

/* ---- CodeCarbon's columns ---- */

static const char columns[] =
    "timestamp,project_name,run_id,experiment_id,duration,emissions,emissions_rate,cpu_power,"
    "gpu_power,ram_power,cpu_energy,gpu_energy,ram_energy,energy_consumed,water_consumed,"
    "country_name,country_iso_code,region,cloud_provider,cloud_region,os,python_version,"
    "codecarbon_version,cpu_count,cpu_model,gpu_count,gpu_model,longitude,latitude,"
    "ram_total_size,tracking_mode,on_cloud,pue,wue\n";

static void put_cell(FILE *out, const char *text)
{
    bool is_quoted = strpbrk(text, ",\"\r\n") != NULL;
    if (is_quoted)
        fputc('"', out);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', out);
        fputc(*text == '\r' || *text == '\n' ? ' ' : *text, out);
    }
    fputs(is_quoted ? "\"," : ",", out);
}

static void put_number(FILE *out, double value)
{
    if (isfinite(value))
        fprintf(out, "%.12g", value);
    fputc(',', out);
}

/* Of the devices of a kind, J, that of an estimate where it is in the run's total, so that the
 * parts come to it; NaN: there is none, or one is not known. */
static double energy_of(const struct wt_run *run, enum wt_device_kind kind)
{
    double sum = NAN;
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        if (d->kind != kind || d->is_part || (d->is_modeled && !d->is_counted))
            continue;
        if (d->energy.provenance == WT_PROV_UNKNOWN)
            return NAN;
        sum = (isnan(sum) ? 0 : sum) + d->energy.energy_j;
    }
    return sum;
}

/* The number before these words in "CPU, 2 processors, 24 GiB, Linux ..."; NaN: it is not there. */
static double number_before(const char *system, const char *words)
{
    const char *at = strstr(system, words), *from = at;
    char text[32];
    double value;
    while (from && from > system && from[-1] >= '0' && from[-1] <= '9')
        from--;
    if (!at || at == from)
        return NAN;
    wt_text(text, sizeof(text), "%.*s", (int)(at - from), from);
    return wt_text_to_double(text, &value) < 0 ? (double)NAN : value;
}

static void put_gpus(FILE *out, const struct wt_statement *s, const struct wt_run *run)
{
    char list[400] = "";
    size_t count = 0;
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        size_t used = strlen(list), same = 0;
        bool is_first = true;
        if (d->kind != WT_DEVICE_GPU || d->is_part)
            continue;
        count++;
        for (size_t k = 0; k < run->device_count; k++)
            if (run->devices[k].kind == WT_DEVICE_GPU && !run->devices[k].is_part &&
                strcmp(run->devices[k].name, d->name) == 0) {
                same++;
                is_first &= k >= i;
            }
        if (is_first)
            wt_text(list + used, sizeof(list) - used, "%s%s%zu x %s", used ? ", " : "",
                    used ? "" : wt_statement_mark(s), same, d->name);
    }
    put_number(out, count ? (double)count : (double)NAN);
    put_cell(out, list);
}

/* country_name to cloud_region. Of a cloud's region the country's name is not in the catalogue. */
static void put_place(FILE *out, const struct wt_statement *s)
{
    char provider[48] = "";
    const struct wt_region *r = &s->region;
    const char *colon = s->has_region && r->is_catalogue ? strchr(r->id, ':') : NULL;
    bool is_country = s->has_region && r->country[0] && strcmp(r->country, r->id) == 0;
    if (colon)
        wt_text(provider, sizeof(provider), "%.*s", (int)(colon - r->id), r->id);
    put_cell(out, is_country ? r->name : "");
    put_cell(out, s->has_region ? r->country : "");
    put_cell(out, s->has_region && !is_country && !colon ? r->name : "");
    put_cell(out, provider);
    put_cell(out, colon ? colon + 1 : "");
}

static void put_row(FILE *out, const struct wt_statement *s, const struct wt_run *run)
{
    static const enum wt_device_kind kinds[] = {WT_DEVICE_CPU, WT_DEVICE_GPU, WT_DEVICE_DRAM};
    char text[120], cpu[160] = "";
    double pue = isnan(s->pue) ? 1 : s->pue, kwh = NAN, kg = NAN;
    bool is_cloud = s->has_region && s->region.is_catalogue && strchr(s->region.id, ':');
    if (run->total.provenance != WT_PROV_UNKNOWN)
        kwh = (run->total.energy_j + run->host_w * run->wall_s) * pue / WT_J_PER_KWH;
    if (s->has_region)
        kg = kwh * s->region.carbon_g * 1e-3;
    int64_t wall_ns = isfinite(run->wall_s) ? (int64_t)(run->wall_s * 1e9) : 0;
    wt_time_text(text, sizeof(text), run->start_unix_ns + wall_ns);
    text[strcspn(text, "Z")] = '\0'; /* CodeCarbon names no zone */
    put_cell(out, text);
    wt_text(text, sizeof(text), "%s%s", wt_statement_mark(s), s->tag);
    put_cell(out, text);
    put_cell(out, run->id);
    put_cell(out, run->group);
    put_number(out, run->wall_s);
    put_number(out, kg);
    put_number(out, run->wall_s > 0 ? kg / run->wall_s : (double)NAN);
    for (size_t i = 0; i < WT_COUNTOF(kinds); i++)
        put_number(out, run->wall_s > 0 ? energy_of(run, kinds[i]) / run->wall_s : (double)NAN);
    for (size_t i = 0; i < WT_COUNTOF(kinds); i++)
        put_number(out, energy_of(run, kinds[i]) * pue / WT_J_PER_KWH);
    put_number(out, kwh);
    put_cell(out, ""); /* water_consumed */
    put_place(out, s);
    const char *os = strstr(run->system, "Linux ");
    put_cell(out, os ? os : "");
    put_cell(out, ""); /* python_version */
    put_cell(out, ""); /* codecarbon_version */
    double processors = number_before(run->system, " processors");
    put_number(out, processors);
    const char *behind = strstr(run->system, " processors");
    const char *comma = behind ? memrchr(run->system, ',', (size_t)(behind - run->system)) : NULL;
    if (comma)
        wt_text(cpu, sizeof(cpu), "%.*s", (int)(comma - run->system), run->system);
    put_cell(out, cpu);
    put_gpus(out, s, run);
    put_cell(out, ""); /* longitude */
    put_cell(out, ""); /* latitude */
    put_number(out, number_before(run->system, " GiB"));
    put_cell(out, "machine");
    put_cell(out, is_cloud ? "Y" : "");
    put_number(out, s->pue);
    fputc('\n', out); /* wue */
}

char *wt_statement_to_codecarbon(const struct wt_statement *statement)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct wt_plain plain;
    if (!out)
        return NULL;
    wt_plain_enter(&plain);
    fputs(columns, out);
    for (size_t i = 0; i < statement->run_count; i++)
        if (!wt_run_is_unstarted(&statement->runs[i]))
            put_row(out, statement, &statement->runs[i]);
    wt_plain_leave(&plain);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
