/* wattune race: of many trainings stop the hopeless early; here on recorded loss curves, what that
 * saves and what it risks. */
#include <stdio.h>

#include "race.h"

static int replay(const struct race_options *o)
{
    struct wt_race_curves curves;
    struct wt_race_replayed replayed = {0};
    struct wt_race_risk risk;
    bool is_one = false;
    struct wt_error err = {0};
    int code;
    if (wt_race_curves_read(&curves, o->replay, o->loss, &err) < 0) {
        cli_fail("race", &err);
        return CLI_FAILURE; /* a folder that is not there is no missing sensor */
    }
    size_t unfinished = 0;
    for (size_t i = 0; i < curves.count; i++)
        unfinished += curves.curves[i].is_unfinished;
    if (unfinished)
        cli_note(
            "race: %zu of %zu curves end where a race stopped them, and are taken as whole: a race "
            "by --to-the-end leaves whole ones",
            unfinished, curves.count);
    if (curves.lacking)
        cli_note("race: %zu of %zu curves, %s.csv among them, lack energy_j, as of a race that was "
                 "killed: the others' energies are left out, and each step costs the same",
                 curves.lacking, curves.count, curves.curves[curves.lacks].name);
    int rc = wt_race_replay(&replayed, &curves, &o->race, o->draw, o->seed, &err);
    /* The order decides only where none waits for the others. */
    is_one = (!o->draw || o->draw == curves.count) && o->race.rule != WT_RACE_ASHA;
    if (rc == 0 && !is_one)
        rc =
            wt_race_judge(&risk, &curves, &o->race, o->draw, o->seed, o->races, o->tolerance, &err);
    if (rc < 0) {
        code = cli_fail("race", &err);
    } else if (o->is_json) {
        code = cli_print_json("race", wt_race_to_json(&curves, &o->race, &replayed,
                                                      is_one ? NULL : &risk, o->replay));
    } else {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_race(&term, &curves, &o->race, &replayed, is_one ? NULL : &risk);
        code = CLI_OK;
    }
    wt_race_replayed_done(&replayed);
    wt_race_curves_done(&curves);
    return code;
}

int cmd_race(int argc, char **argv)
{
    struct race_options o = {0};
    int code = race_parse(argc, argv, &o);
    if (code < 0)
        code = o.replay ? replay(&o) : race_live(&o, argv);
    race_options_done(&o);
    return code;
}
