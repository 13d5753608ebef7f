/**
 * One JSON object a line on stderr: time, level, message, fields. A logging library would bring a dozen packages and
 * worker threads for these few lines a day.
 */
import type { LogLevel, UnitLog } from '../unit/options.js'
import { toJson } from './terminal.js'

const order: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

export function jsonLog(least: LogLevel): UnitLog {
  return (level, message, fields) => {
    if (order.indexOf(level) < order.indexOf(least)) return
    process.stderr.write(`${toJson({ time: new Date().toISOString(), level, message, ...fields })}\n`)
  }
}
