/* Draws the report's plots with Chart.js, versions 2 to 4 (their options differ, see chart()).
 * The tables are plain HTML and need none of this. */
(function () {
  'use strict';
  var data = JSON.parse(document.getElementById('data').textContent);
  var isOld = parseInt(Chart.version || '2', 10) < 3;
  var charts = [];
  var family = getComputedStyle(document.body).fontFamily;
  if (isOld) Chart.defaults.global.defaultFontFamily = family;
  else Chart.defaults.font.family = family;
  var hues = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#b8860b', '#56b4e9', '#7f6bb3', '#8c564b',
              '#e7298a', '#66a61e', '#17a2a2', '#8a8f98'];
  /* After twelve lines the colours come again, dotted. */
  function hue(i) { return hues[i % hues.length]; }
  function dash(i) { return i < hues.length ? [] : [2, 3]; }

  function css(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }
  function clean(value) { /* 0.30000000000000004 */
    return +Number(value).toPrecision(6);
  }

  /* Draws what a chart of lines lacks: interval bars, a line at the reference, the choice. */
  var marks = {
    id: 'marks',
    afterDatasetsDraw: function (chart) {
      var ctx = chart.ctx, y = chart.scales.y, x = chart.scales.x, area = chart.chartArea;
      var extra = chart.config.marks || (chart.config._config || {}).marks || {};
      ctx.save();
      ctx.lineWidth = 1;
      if (extra.level !== undefined) {
        ctx.strokeStyle = css('--soft');
        ctx.setLineDash([2, 4]);
        ctx.beginPath();
        ctx.moveTo(area.left, y.getPixelForValue(extra.level));
        ctx.lineTo(area.right, y.getPixelForValue(extra.level));
        ctx.stroke();
      }
      if (extra.at !== undefined && extra.at !== null) {
        var px = x.getPixelForValue(extra.at);
        ctx.strokeStyle = css('--good');
        ctx.fillStyle = css('--good');
        ctx.setLineDash([2, 3]);
        ctx.beginPath();
        ctx.moveTo(px, area.top);
        ctx.lineTo(px, area.bottom);
        ctx.stroke();
        ctx.font = '12px ' + family;
        ctx.textAlign = px > (area.left + area.right) / 2 ? 'right' : 'left';
        ctx.fillText(extra.word, px + (ctx.textAlign === 'right' ? -6 : 6), area.top + 10);
      }
      ctx.setLineDash([]);
      chart.data.datasets.forEach(function (set, i) {
        var meta = chart.getDatasetMeta(i);
        if (!set.bounds || meta.hidden) return;
        ctx.strokeStyle = set.barColor || set.borderColor;
        ctx.lineWidth = 1.5;
        set.bounds.forEach(function (bound, k) {
          var point = meta.data[k];
          if (!bound || !point) return;
          var at = point._model ? point._model.x : point.x;
          var low = y.getPixelForValue(bound[0]), high = y.getPixelForValue(bound[1]);
          ctx.beginPath();
          ctx.moveTo(at, low); ctx.lineTo(at, high);
          ctx.moveTo(at - 6, low); ctx.lineTo(at + 6, low);
          ctx.moveTo(at - 6, high); ctx.lineTo(at + 6, high);
          ctx.stroke();
        });
      });
      ctx.restore();
    }
  };

  /* One description of axes, in the words of the version at hand. */
  function axis(spec, isY) {
    var soft = css('--soft'), line = css('--line');
    var tick = function (value) {
      /* The end of a run is no round number: the axis ends there, but has no figure there. */
      return spec.isTime && value === spec.max ? '' : clean(value) + (spec.suffix || '');
    };
    if (isOld) {
      var a = {
        id: isY ? 'y' : 'x', type: spec.type || 'linear',
        scaleLabel: { display: true, labelString: spec.title, fontColor: soft },
        gridLines: { color: line, drawOnChartArea: isY, zeroLineColor: line },
        ticks: { fontColor: soft, maxTicksLimit: 8, maxRotation: 0 }
      };
      if (spec.type !== 'category') a.ticks.callback = tick;
      if (spec.min !== undefined) a.ticks.min = spec.min;
      if (spec.max !== undefined) a.ticks.max = spec.max;
      if (spec.room) {
        a.ticks.suggestedMin = spec.room[0];
        a.ticks.suggestedMax = spec.room[1];
      }
      if (spec.type === 'category') a.offset = true;
      if (spec.at) a.afterBuildTicks = function () { return spec.at; };
      return a;
    }
    var b = {
      type: spec.type || 'linear',
      title: { display: true, text: spec.title, color: soft },
      grid: { color: line, drawOnChartArea: isY }, border: { color: line },
      ticks: { color: soft, maxTicksLimit: 8, maxRotation: 0, includeBounds: !spec.isTime }
    };
    if (spec.type !== 'category') b.ticks.callback = tick;
    if (spec.type === 'category') b.offset = true; /* an interval bar needs room at both sides */
    if (spec.min !== undefined) b.min = spec.min;
    if (spec.max !== undefined) b.max = spec.max;
    if (spec.room) {
      b.suggestedMin = spec.room[0];
      b.suggestedMax = spec.room[1];
    }
    if (spec.at) b.afterBuildTicks = function (scale) {
      scale.ticks = spec.at.map(function (v) { return { value: v }; });
    };
    return b;
  }

  function chart(id, type, content, x, y, extra) {
    var canvas = document.getElementById(id);
    if (!canvas) return;
    var soft = css('--soft');
    var describe = function (set, k) {
      var point = set.data[k], value = point !== null && typeof point === 'object' ? point.y : point;
      var bound = set.bounds && set.bounds[k];
      return ' ' + set.label + ': ' + Number(value).toPrecision(4) + (y.suffix || '') +
        (bound ? ' [' + bound.map(function (v) { return Number(v).toPrecision(4); }).join(', ') + ']' : '');
    };
    var show = content.datasets.length > 1;
    var config = { type: type, data: content, plugins: [marks], marks: extra || {} };
    if (isOld) {
      config.options = {
        maintainAspectRatio: false, animation: { duration: 0 },
        legend: { display: show, labels: { fontColor: soft, boxWidth: 8, usePointStyle: true } },
        tooltips: { mode: 'nearest', intersect: false, callbacks: {
          label: function (item, all) { return describe(all.datasets[item.datasetIndex], item.index); } } },
        scales: { xAxes: [axis(x, false)], yAxes: [axis(y, true)] }
      };
    } else {
      config.options = {
        maintainAspectRatio: false, animation: false,
        interaction: { mode: 'nearest', intersect: false },
        plugins: {
          legend: { display: show, labels: { color: soft, boxWidth: 8, boxHeight: 8, usePointStyle: true } },
          tooltip: { callbacks: {
            label: function (item) { return describe(item.dataset, item.dataIndex); } } }
        },
        scales: { x: axis(x, false), y: axis(y, true) }
      };
    }
    charts.push(new Chart(canvas.getContext('2d'), config));
  }

  function series(label, color, points, more) {
    var set = {
      label: label, data: points, borderColor: color, backgroundColor: color, fill: false,
      borderWidth: 2, pointRadius: 0, lineTension: 0, tension: 0
    };
    Object.keys(more || {}).forEach(function (key) { set[key] = more[key]; });
    return set;
  }
  function columns(x, y) {
    return x.map(function (v, i) { return { x: v, y: y[i] }; });
  }

  /* The axis of time, as long as the longest of these. */
  function seconds(list) {
    var end = Math.max.apply(null, list.map(function (v) { return v.t_s.length ? v.t_s[v.t_s.length - 1] : 0; }));
    return { title: 'time since the start, s', min: 0, max: end > 0 ? clean(end) : 1, isTime: true };
  }

  /* Room for the interval bars too, of which the axis by itself knows nothing, and a little more.
   * `more` is a value that must be in it; below a 0 there is room only for what lies there. */
  function room(sets, more) {
    var low = more, high = more;
    sets.forEach(function (set) {
      set.data.forEach(function (point, k) {
        var value = point !== null && typeof point === 'object' ? point.y : point;
        [value].concat(set.bounds[k] || []).forEach(function (v) {
          low = Math.min(low, v);
          high = Math.max(high, v);
        });
      });
    });
    var edge = (high - low) * 0.05 || 1;
    return [low === more && more === 0 ? 0 : low - edge, high + edge];
  }

  function sweep(s) {
    var rows = s.rows, hasNumbers = rows.every(function (r) { return r.setting !== null; });
    var name = s.is_pair ? '' : (s.knob || 'setting') + (s.unit ? ', ' + s.unit : '');
    // Several settings of a row are a line each and their names go below: side by side they would
    // overlap.
    var isJoint = rows.length && rows.every(function (r) { return r.label.split('=').length > 2; });
    var labels = rows.map(function (r) {
      return isJoint ? r.label.split(', ').map(function (p) { return p.split('=').pop(); }) : r.label;
    });
    if (isJoint) name = rows[0].label.split(', ').map(function (p) { return p.split('=')[0]; }).join(', ');
    var x = { title: name, type: hasNumbers ? 'linear' : 'category' };
    if (hasNumbers) {
      var all = rows.map(function (r) { return r.setting; });
      var low = Math.min.apply(null, all), high = Math.max.apply(null, all), edge = (high - low) * 0.06 || 1;
      x.min = clean(low - edge);
      x.max = clean(high + edge);
      /* Ticks where something was measured, and nowhere else. */
      x.at = all;
    }
    function ratio(key, label, color, shape) {
      var pick = function (r) { return r[key].value * 100; };
      return series(label, color, rows.map(function (r) {
        return hasNumbers ? { x: r.setting, y: pick(r) } : pick(r);
      }), {
        pointRadius: rows.map(function (r) { return r.is_choice ? 5 : 3; }), pointStyle: shape,
        bounds: rows.map(function (r) {
          return r[key].low === r[key].high ? null : [r[key].low * 100, r[key].high * 100];
        })
      });
    }
    var best = rows.filter(function (r) { return r.is_choice; })[0]; /* of a pair none is chosen */
    var both = [ratio('energy_ratio', 'energy', css('--energy'), 'circle'),
                ratio('time_ratio', 'time', css('--time'), 'rect')];
    chart('relative', 'line', { labels: labels, datasets: both }, x,
    { title: '% of ' + s.reference, suffix: '\u2009%', room: room(both, 100) },
    { level: 100, at: best && hasNumbers ? best.setting : undefined, word: best && best.label });

    /* Runs that did different amounts of work are compared by its unit. */
    var byUnit = s.is_per_work && !s.needs;
    var key = byUnit ? 'j_per_work' : 'energy_j', times = byUnit ? 1000 : 1;
    var words = byUnit ? 'energy per 1,000 ' + s.work_unit : s.needs ? 'energy to target' : 'energy a run';
    var green = css('--energy');
    var largest = times * Math.max.apply(null, rows.map(function (r) { return r[key].high; }));
    var scale = largest >= 1e6 ? [1e6, 'MJ'] : largest >= 1e3 ? [1e3, 'kJ'] : largest >= 1 ? [1, 'J'] : [1e-3, 'mJ'];
    var joules = function (v) { return v * times / scale[0]; };
    var bars = {
      label: 'energy', data: rows.map(function (r) { return joules(r[key].value); }),
      backgroundColor: rows.map(function (r) { return r.is_choice || !best ? green : green + '66'; }),
      borderWidth: 0, maxBarThickness: 56, barColor: css('--ink'),
      bounds: rows.map(function (r) { return [joules(r[key].low), joules(r[key].high)]; })
    };
    chart('energy', 'bar', { labels: labels, datasets: [bars] },
      { title: name, type: 'category' },
      { title: words + ', ' + scale[1], room: room([bars], 0) });

    chart('power', 'line', {
      datasets: s.traces.map(function (t, i) {
        return series(t.label, hue(i), columns(t.t_s, t.power_w), { borderWidth: 1.5, borderDash: dash(i) });
      })
    }, seconds(s.traces), { title: 'power, W', min: 0 });
  }

  function run(r, n) {
    var sets = [];
    r.traces.forEach(function (t, i) {
      if (!t.t_s.length) return;
      var color = hue(i);
      sets.push(series(t.label, color, columns(t.t_s, t.power_w), { borderWidth: 1.5, borderDash: dash(i) }));
      if (t.limit_w.some(function (v) { return v !== null; }))
        sets.push(series('limit' + (r.traces.length > 1 ? ' of ' + t.label : ''), color,
          /* It holds until another is set: steps, by the name of either version. */
          columns(t.t_s, t.limit_w), { borderWidth: 1, borderDash: [5, 4], pointStyle: 'line',
                                       steppedLine: 'before', stepped: 'before' }));
    });
    chart('power-' + n, 'line', { datasets: sets }, seconds(r.traces), { title: 'power, W', min: 0 });
    if (r.is_joint) {
      chart('value-' + n + '-0', 'line', {
        datasets: r.series.map(function (v, i) {
          return series(v.name, hue(i), columns(v.t_s, v.value), { borderWidth: 1.5, borderDash: dash(i) });
        })
      }, seconds(r.series), { title: 'value' });
      return;
    }
    r.series.forEach(function (v, i) {
      chart('value-' + n + '-' + i, 'line', {
        datasets: [series(v.name, css('--power'), columns(v.t_s, v.value))]
      }, seconds([v]), { title: v.name });
    });
  }

  function draw() {
    charts.forEach(function (c) { c.destroy(); });
    charts = [];
    if (data.sweep) sweep(data.sweep);
    (data.runs || []).forEach(run);
  }
  draw();
  if (window.matchMedia) {
    var dark = window.matchMedia('(prefers-color-scheme: dark)');
    if (dark.addEventListener) dark.addEventListener('change', draw);
  }
  /* Paper is white whatever the screen is. */
  function paper(isOn) {
    return function () {
      document.documentElement.classList.toggle('print', isOn);
      draw();
    };
  }
  window.addEventListener('beforeprint', paper(true));
  window.addEventListener('afterprint', paper(false));
})();
