/**
 * One JSON object per line on stderr: time, level, message, fields. A logging library would add a dozen packages and
 * worker threads for these few lines a day.
 */
import type { LogLevel, UnitLog } from '../unit/options.js'
import { outputOf } from './output.js'
import { lineWriter } from './standard-streams.js'
import { toJson } from './terminal.js'

const order: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

type UnitLogLine = (...line: Parameters<UnitLog>) => string

export function jsonLog(least: LogLevel): UnitLog {
  const line: UnitLogLine = (level, message, fields) =>
    `${toJson({ time: new Date().toISOString(), level, message, ...fields })}\n`
  const write = lineWriter(outputOf(process.stderr), (lines) => line('warn', 'log lines were dropped', { lines }))
  return (level, message, fields) => {
    if (order.indexOf(level) >= order.indexOf(least)) write(line(level, message, fields))
  }
}
