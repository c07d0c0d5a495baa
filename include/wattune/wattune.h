/* Wattune: measure, lower and prove the energy of language models. Includes everything public. */
#ifndef WATTUNE_WATTUNE_H
#define WATTUNE_WATTUNE_H

#include "wattune/budget.h"
#include "wattune/ctx.h"
#include "wattune/curve.h"
#include "wattune/device.h"
#include "wattune/door.h"
#include "wattune/emulate.h"
#include "wattune/error.h"
#include "wattune/fleet.h"
#include "wattune/gather.h"
#include "wattune/jobs.h"
#include "wattune/lease.h"
#include "wattune/live.h"
#include "wattune/meter.h"
#include "wattune/phases.h"
#include "wattune/plan.h"
#include "wattune/probe.h"
#include "wattune/race.h"
#include "wattune/report.h"
#include "wattune/run.h"
#include "wattune/search.h"
#include "wattune/serve.h"
#include "wattune/sweep.h"
#include "wattune/tune.h"
#include "wattune/types.h"
#include "wattune/users.h"
#include "wattune/workload.h"

#endif
