-- The rows the first model was trained and judged on, and every labelled prediction since.
SELECT
  time_hour, month, day_of_week, hour, sched_dep_minute, sched_arr_minute, carrier, origin, dest, distance,
  planned_minutes, origin_traffic, dest_traffic, is_holiday, days_to_holiday, plane_age, seats, engine,
  manufacturer, temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib, late_all_1d,
  late_carrier_1d, late_carrier_7d, late_origin_1d, late_origin_7d, late_dest_7d, late_tailnum_28d,
  late_route_28d, late_carrier_origin_7d, late_origin_hour_7d, late
FROM (
  SELECT * FROM base WHERE time_hour < TIMESTAMP '2013-04-01'
  UNION ALL BY NAME
  SELECT * FROM live
)
ORDER BY time_hour, carrier, dest, sched_dep_minute
