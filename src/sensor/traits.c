/* traits: what a counter's traits say of its sight; see sensor.h. */
#include "sensor/sensor.h"

/* The time in which the sensor looks once: the shorter of the periods that are known; 0: none is.
 */
static int64_t unit_ns(const struct wt_sensor_traits *t)
{
    if (t->power_period_ns <= 0)
        return t->energy_period_ns;
    if (t->energy_period_ns > 0 && t->energy_period_ns < t->power_period_ns)
        return t->energy_period_ns;
    return t->power_period_ns;
}

bool wt_traits_sees_part(const struct wt_sensor_traits *t)
{
    int64_t unit = unit_ns(t);
    return t->energy_window_ns > 0 && t->energy_window_ns < unit - unit / 20;
}

bool wt_traits_sees_all(const struct wt_sensor_traits *t)
{
    return t->energy_window_ns > 0 && unit_ns(t) > 0 && !wt_traits_sees_part(t);
}
