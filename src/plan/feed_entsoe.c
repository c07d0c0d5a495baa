/* feed_entsoe: day-ahead prices of ENTSO-E's transparency platform (documentType A44), XML.
 *
 * Publication_MarketDocument > TimeSeries: currency_Unit.name, price_Measure_Unit.name (MWH),
 * curveType, contract_MarketAgreement.type (A01: of a day), the number of the auction
 * (classificationSequence_AttributeInstanceComponent.position; 1 is the coupled market's, 2 EXAA's)
 * > Period: timeInterval start and end, resolution (PT15M) > Point: position from 1, price.amount.
 * In a curve of type A03 a point that is not there has the price of the one before it, in one of
 * A01 there is none. Nothing to tell is an Acknowledgement_MarketDocument with Reason > code, text.
 * Sources:
 * https://transparency.entsoe.eu/content/static_content/Static%20content/web%20api/Guide.html
 * (4.2.10); "A01 vs A03", article 30262342482961 of transparencyplatform.zendesk.com; XML schema
 * urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3.
 *
 * Read by libexpat, opened when it is needed. A document type (and with it any entity) is refused.
 */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plan/feed.h"

#ifdef WT_HAVE_EXPAT

#include <expat.h>

#define POINTS_MAX 10000 /* of a period */

struct api {
    typeof(XML_ParserCreate) *create;
    typeof(XML_ParserFree) *free;
    typeof(XML_SetUserData) *set_data;
    typeof(XML_SetElementHandler) *set_element;
    typeof(XML_SetCharacterDataHandler) *set_text;
    typeof(XML_SetStartDoctypeDeclHandler) *set_doctype;
    typeof(XML_Parse) *parse;
    typeof(XML_StopParser) *stop;
    typeof(XML_GetErrorCode) *code;
    typeof(XML_ErrorString) *word;
    typeof(XML_GetCurrentLineNumber) *line;
};

static const char *const names[] = {"libexpat.so.1", NULL};
#define AT(member) offsetof(struct api, member)
static const struct wt_library_symbol symbols[] = {
    {"XML_ParserCreate", AT(create)},
    {"XML_ParserFree", AT(free)},
    {"XML_SetUserData", AT(set_data)},
    {"XML_SetElementHandler", AT(set_element)},
    {"XML_SetCharacterDataHandler", AT(set_text)},
    {"XML_SetStartDoctypeDeclHandler", AT(set_doctype)},
    {"XML_Parse", AT(parse)},
    {"XML_StopParser", AT(stop)},
    {"XML_GetErrorCode", AT(code)},
    {"XML_ErrorString", AT(word)},
    {"XML_GetCurrentLineNumber", AT(line)},
};
static const struct wt_library libexpat = {
    .what = "reading XML",
    .names = names,
    .fix = "install libexpat1 (Debian, Ubuntu) or expat",
    .symbols = symbols,
    .count = WT_COUNTOF(symbols),
};

struct reading {
    const struct api *api;
    XML_Parser parser;
    struct wt_feed_rows *rows;
    struct wt_error *err;
    int rc;
    char text[160]; /* of the innermost element, blanks left out */
    size_t length;
    bool is_acknowledgement, is_document;
    char code[16], reason[160];
    char currency[4];
    /* of the time series; its points are taken when it has ended and is one that we want */
    bool is_ours, is_kept;
    char curve[8];
    size_t before; /* rows before it */
    size_t others; /* time series that are not ours */
    /* of the period */
    int64_t from_s, to_s, step_s;
    long position;
    double price;
    struct {
        long position;
        double price;
    } * points; /* owned */
    size_t count;
};

static void fail(struct reading *r, int rc)
{
    if (r->rc == 0)
        r->rc = rc;
    r->api->stop(r->parser, XML_FALSE);
}

/* The name without a prefix of a namespace. */
static const char *local(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon ? colon + 1 : name;
}

static void XMLCALL on_doctype(void *data, const char *name, const char *system, const char *public,
                               int has_subset)
{
    struct reading *r = data;
    (void)name, (void)system, (void)public, (void)has_subset;
    fail(r, wt_fail(r->err, WT_E_FORMAT, "has a document type, which is not read"));
}

static void XMLCALL on_start(void *data, const char *name, const char **attributes)
{
    struct reading *r = data;
    (void)attributes;
    name = local(name);
    r->length = 0;
    r->text[0] = '\0';
    if (strcmp(name, "Acknowledgement_MarketDocument") == 0) {
        r->is_acknowledgement = true;
    } else if (strcmp(name, "Publication_MarketDocument") == 0) {
        r->is_document = true;
    } else if (strcmp(name, "TimeSeries") == 0) {
        r->is_ours = true;
        r->curve[0] = '\0';
        r->before = r->rows->count;
    } else if (strcmp(name, "Period") == 0) {
        r->from_s = r->to_s = r->step_s = 0;
        r->count = 0;
    } else if (strcmp(name, "Point") == 0) {
        r->position = 0;
        r->price = NAN;
    }
}

static void XMLCALL on_text(void *data, const char *text, int length)
{
    struct reading *r = data;
    for (int i = 0; i < length; i++)
        if ((r->length || !strchr(" \t\r\n", text[i])) && r->length + 1 < sizeof(r->text))
            r->text[r->length++] = text[i];
    r->text[r->length] = '\0';
}

static int64_t step_of(const char *text)
{
    static const struct {
        const char *text;
        int64_t step_s;
    } steps[] = {{"PT15M", 900},      {"PT30M", 1800},   {"PT60M", WT_HOUR_S},
                 {"PT1H", WT_HOUR_S}, {"P1D", WT_DAY_S}, {"PT5M", 300}};
    for (size_t i = 0; i < WT_COUNTOF(steps); i++)
        if (strcmp(text, steps[i].text) == 0)
            return steps[i].step_s;
    return 0;
}

static void end_point(struct reading *r)
{
    long most = r->step_s ? (long)((r->to_s - r->from_s) / r->step_s) : 0;
    if (r->position < 1 || r->position > most || isnan(r->price) ||
        (r->count && r->position <= r->points[r->count - 1].position)) {
        fail(r, wt_fail(r->err, WT_E_FORMAT, "has in line %lu no point of its period",
                        (unsigned long)r->api->line(r->parser)));
        return;
    }
    r->points[r->count].position = r->position;
    r->points[r->count++].price = r->price;
}

static void end_period(struct reading *r)
{
    bool is_held = strcmp(r->curve, "A03") == 0;
    if (r->curve[0] && !is_held && strcmp(r->curve, "A01") != 0) {
        fail(r, wt_fail(r->err, WT_E_FORMAT, "has a curve of type %s", r->curve));
        return;
    }
    for (size_t i = 0; r->rc == 0 && i < r->count; i++) {
        long next = !is_held           ? r->points[i].position + 1
                    : i + 1 < r->count ? r->points[i + 1].position
                                       : (long)((r->to_s - r->from_s) / r->step_s) + 1;
        for (long k = r->points[i].position; r->rc == 0 && k < next; k++) {
            int64_t from_s = r->from_s + (k - 1) * r->step_s;
            int rc = wt_feed_put(r->rows, from_s, from_s + r->step_s, r->points[i].price / 1000,
                                 false, r->err);
            if (rc < 0)
                fail(r, rc);
        }
    }
}

static void end_series(struct reading *r)
{
    if (!r->is_ours) {
        r->rows->count = r->before;
        r->others++;
    } else if (r->rows->count > r->before) {
        r->is_kept = true;
    }
}

/* What an element held whose text is all there is in it. False: it is none of those. */
static bool end_text(struct reading *r, const char *name)
{
    if (strcmp(name, "code") == 0) {
        wt_text(r->code, sizeof(r->code), "%s", r->text);
    } else if (strcmp(name, "text") == 0) {
        wt_text(r->reason, sizeof(r->reason), "%s", r->text);
    } else if (strcmp(name, "curveType") == 0) {
        wt_text(r->curve, sizeof(r->curve), "%s", r->text);
    } else if (strcmp(name, "contract_MarketAgreement.type") == 0) {
        r->is_ours &= strcmp(r->text, "A01") == 0;
    } else if (strcmp(name, "classificationSequence_AttributeInstanceComponent.position") == 0) {
        r->is_ours &= strcmp(r->text, "1") == 0;
    } else if (strcmp(name, "currency_Unit.name") == 0) {
        if (strlen(r->text) != 3 || (r->currency[0] && strcmp(r->currency, r->text) != 0))
            fail(r, wt_fail(r->err, WT_E_FORMAT, "has prices in %s and in %s",
                            r->currency[0] ? r->currency : "no currency", r->text));
        else
            memcpy(r->currency, r->text, 4);
    } else if (strcmp(name, "price_Measure_Unit.name") == 0) {
        if (strcmp(r->text, "MWH") != 0)
            fail(r, wt_fail(r->err, WT_E_FORMAT, "has prices by %s, not MWH", r->text));
    } else {
        return false;
    }
    return true;
}

static void XMLCALL on_end(void *data, const char *name)
{
    struct reading *r = data;
    name = local(name);
    while (r->length && strchr(" \t\r\n", r->text[r->length - 1]))
        r->text[--r->length] = '\0';
    bool is_bad = false;
    if (end_text(r, name)) {
        ;
    } else if (strcmp(name, "start") == 0) {
        is_bad = wt_moment_parse(r->text, &r->from_s) < 0;
    } else if (strcmp(name, "end") == 0) {
        is_bad = wt_moment_parse(r->text, &r->to_s) < 0;
    } else if (strcmp(name, "resolution") == 0) {
        r->step_s = step_of(r->text);
        is_bad =
            !r->step_s || r->to_s <= r->from_s || (r->to_s - r->from_s) / r->step_s > POINTS_MAX;
    } else if (strcmp(name, "position") == 0) {
        uint64_t position;
        is_bad = wt_text_to_u64(r->text, &position) < 0 || position > POINTS_MAX;
        r->position = is_bad ? 0 : (long)position;
    } else if (strcmp(name, "price.amount") == 0) {
        is_bad = wt_text_to_double(r->text, &r->price) < 0;
    } else if (strcmp(name, "Point") == 0) {
        end_point(r);
    } else if (strcmp(name, "Period") == 0) {
        end_period(r);
    } else if (strcmp(name, "TimeSeries") == 0) {
        end_series(r);
    }
    if (is_bad)
        fail(r, wt_fail(r->err, WT_E_FORMAT, "has in line %lu as %.40s \"%.40s\"",
                        (unsigned long)r->api->line(r->parser), name, r->text));
    r->length = 0;
    r->text[0] = '\0';
}

static int judge(struct reading *r, enum XML_Status status)
{
    if (r->rc < 0)
        return r->rc;
    if (status != XML_STATUS_OK)
        return wt_fail(r->err, WT_E_FORMAT, "is no XML: line %lu: %s",
                       (unsigned long)r->api->line(r->parser),
                       r->api->word(r->api->code(r->parser)));
    if (r->is_acknowledgement)
        return wt_fail(r->err, strcmp(r->code, "999") == 0 ? WT_E_NOTFOUND : WT_E_FORMAT,
                       "says: %s", r->reason[0] ? r->reason : "nothing");
    if (!r->is_document)
        return wt_fail(r->err, WT_E_FORMAT, "is no Publication_MarketDocument");
    if (!r->is_kept)
        return wt_fail(r->err, WT_E_FORMAT,
                       r->others ? "has prices of other auctions, and none of the coupled market"
                                 : "has no prices");
    return 0;
}

int wt_feed_entsoe(struct wt_feed_rows *rows, const char *text, size_t size, char currency[4],
                   struct wt_error *err)
{
    struct api api;
    struct reading r = {.api = &api, .rows = rows, .err = err};
    int rc = wt_library_open(&libexpat, &api, err);
    if (rc < 0)
        return rc;
    r.points = calloc(POINTS_MAX + 1, sizeof(*r.points));
    r.parser = api.create(NULL);
    if (r.points && r.parser && size < INT32_MAX) {
        api.set_data(r.parser, &r);
        api.set_element(r.parser, on_start, on_end);
        api.set_text(r.parser, on_text);
        api.set_doctype(r.parser, on_doctype);
        rc = judge(&r, api.parse(r.parser, text, (int)size, XML_TRUE));
    } else {
        rc = wt_fail(err, WT_E_NOMEM, "no memory to read XML");
    }
    if (rc == 0)
        memcpy(currency, r.currency, 4);
    if (r.parser)
        api.free(r.parser);
    free(r.points);
    return rc;
}

#else

int wt_feed_entsoe(struct wt_feed_rows *rows, const char *text, size_t size, char currency[4],
                   struct wt_error *err)
{
    (void)rows, (void)text, (void)size, (void)currency;
    wt_fail(err, WT_E_UNSUPPORTED, "this Wattune was built without libexpat, which reads XML");
    wt_fix(err, "install libexpat1-dev and build it again");
    return WT_E_UNSUPPORTED;
}

#endif
