/** The settings of `serve`. Flags override RDMA_CHECKPOINT_* variables, and variables override the file of --config. */
import { readFileSync } from 'node:fs'
import type { LogLevel, UnitOptions } from '../unit/options.js'
import { parseSize } from './sizes.js'
import { UsageError } from './terminal.js'

export type SettingKind = 'text' | 'size' | 'count' | 'list' | 'flag'

/** Each setting by its name in the file. The names of flags and variables are derived from it. */
export const settings = {
  medium: { kind: 'text', value: 'MEDIUM', help: 'where the pool lives: memory, file or devdax' },
  path: { kind: 'text', value: 'PATH', help: 'the pool file, or the devdax device' },
  devdax: { kind: 'text', value: 'PATH', help: 'short for --medium devdax --path PATH, such as /dev/dax0.0' },
  create: {
    kind: 'flag',
    value: '',
    help: 'create a new, empty pool if there is none; otherwise a missing pool is an error (see pool create)',
  },
  bytes: { kind: 'size', value: 'SIZE', help: 'size of a new pool, such as 4096, 64MiB, 1.5GiB' },
  maxRegions: {
    kind: 'count',
    value: 'N',
    help: 'entries in the table of a new pool (default: one for each 256 KiB, 64 to 65536)',
  },
  listen: {
    kind: 'text',
    value: 'HOST:PORT',
    help: 'address of the control service; port 0 takes any free port (default: 127.0.0.1:4790)',
  },
  data: {
    kind: 'list',
    value: 'HOST:PORT...',
    help: 'addresses of the data plane (default: the host of --listen, any port)',
  },
  advertise: {
    kind: 'list',
    value: 'HOST:PORT...',
    help: 'addresses given to clients instead of --data (host:port, or host alone), for containers and NAT',
  },
  transport: { kind: 'text', value: 'NAME', help: 'auto, iwarp or verbs (default: auto)' },
  maxSessions: { kind: 'count', value: 'N', help: 'most clients at a time (default: 1024)' },
  maxConnections: { kind: 'count', value: 'N', help: 'most connections at a time (default: 4096)' },
  maxRegionBytes: { kind: 'size', value: 'SIZE', help: 'largest region that clients may create (default: the pool)' },
  logLevel: { kind: 'text', value: 'LEVEL', help: 'debug, info, warn or error (default: info)' },
  dangerouslyAllowUnauthenticated: {
    kind: 'flag',
    value: '',
    help: 'listen on addresses other than loopback, without authentication: anyone who reaches the unit may read, write and delete everything',
  },
} as const satisfies Record<string, { kind: SettingKind; value: string; help: string }>

export type SettingName = keyof typeof settings
type Value = string | number | boolean | readonly string[]
export type SettingValues = Partial<Record<SettingName, Value>>

const logLevels = ['debug', 'info', 'warn', 'error'] as const

export function flagOf(name: SettingName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}
export function variableOf(name: SettingName): string {
  return `RDMA_CHECKPOINT_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`
}

/**
 * @param flags as the command line gave them: strings and lists of strings
 * @throws UsageError
 */
export function gatherSettings(
  flags: SettingValues,
  environment: NodeJS.ProcessEnv,
  configFile?: string,
): SettingValues {
  const gathered: SettingValues = configFile === undefined ? {} : readConfig(configFile)
  for (const name of Object.keys(settings) as SettingName[]) {
    const variable = environment[variableOf(name)]
    if (variable !== undefined && variable !== '') gathered[name] = parseSetting(name, variable, variableOf(name))
    const flag = flags[name]
    if (flag !== undefined) gathered[name] = parseSetting(name, flag, flagOf(name))
  }
  return gathered
}

function readConfig(path: string): SettingValues {
  let config: unknown
  try {
    config = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new UsageError(`The configuration ${path} cannot be read: ${(error as Error).message}`)
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new UsageError(`The configuration ${path} is not a JSON object.`)
  }
  const values: SettingValues = {}
  for (const [name, value] of Object.entries(config)) {
    if (!Object.hasOwn(settings, name)) {
      throw new UsageError(
        `${path}: there is no setting "${name}". The settings are: ${Object.keys(settings).join(', ')}.`,
      )
    }
    values[name as SettingName] = parseSetting(name as SettingName, value, `${path}: ${name}`)
  }
  return values
}

function parseSetting(name: SettingName, value: unknown, where: string): Value {
  const { kind } = settings[name]
  switch (kind) {
    case 'text':
      if (typeof value === 'string') return value
      break
    case 'size': {
      const bytes = typeof value === 'string' ? parseSize(value) : value
      if (typeof bytes === 'number' && Number.isSafeInteger(bytes) && bytes > 0) return bytes
      break
    }
    case 'count': {
      const count = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value
      if (typeof count === 'number' && Number.isSafeInteger(count) && count > 0) return count
      break
    }
    case 'list': {
      const list = typeof value === 'string' ? value.split(',').map((item) => item.trim()) : value
      if (Array.isArray(list) && list.every((item) => typeof item === 'string' && item !== '')) return list as string[]
      break
    }
    case 'flag':
      if (typeof value === 'boolean') return value
      if (value === '1' || value === 'true') return true
      if (value === '0' || value === 'false') return false
  }
  const wanted = {
    text: 'a string',
    size: 'a size such as 64MiB',
    count: 'a whole number, 1 or more',
    list: 'a list',
    flag: '1 or 0',
  }
  throw new UsageError(`${where} is ${wanted[kind]}; it is ${JSON.stringify(value)}.`)
}

export interface ServePlan {
  unit: UnitOptions
  logLevel: LogLevel
}

/** @throws UsageError */
export function planServe(values: SettingValues): ServePlan {
  const text = (name: SettingName) => values[name] as string | undefined
  const number = (name: SettingName) => values[name] as number | undefined
  const list = (name: SettingName) => values[name] as string[] | undefined
  const logLevel = (text('logLevel') ?? 'info') as LogLevel
  if (!logLevels.includes(logLevel))
    throw new UsageError(`${flagOf('logLevel')} is one of ${logLevels.join(', ')}; it is "${logLevel}".`)
  const transport = text('transport') ?? 'auto'
  if (transport !== 'auto' && transport !== 'iwarp' && transport !== 'verbs') {
    throw new UsageError(`--transport is auto, iwarp or verbs; it is "${transport}".`)
  }
  const open = values.dangerouslyAllowUnauthenticated === true
  const regionBytes = number('maxRegionBytes')
  const sessions = number('maxSessions')
  const connections = number('maxConnections')
  return {
    logLevel,
    unit: {
      pool: planPool(values),
      listen: text('listen') ?? '127.0.0.1:4790',
      data: list('data') ?? [],
      advertise: list('advertise') ?? [],
      transport,
      security: open ? { mode: 'dangerously-unauthenticated' } : { mode: 'loopback' },
      limits: {
        ...(regionBytes === undefined ? {} : { regionBytes }),
        ...(sessions === undefined ? {} : { sessions }),
        ...(connections === undefined ? {} : { connections }),
      },
    },
  }
}

/** @throws UsageError */
export function planPool(values: SettingValues): UnitOptions['pool'] {
  const devdax = values.devdax as string | undefined
  const medium = values.medium ?? (devdax === undefined ? undefined : 'devdax')
  const path = (values.path as string | undefined) ?? devdax
  const bytes = values.bytes as number | undefined
  const create = values.create === true
  const table = values.maxRegions === undefined ? {} : { maxRegions: values.maxRegions as number }
  if (medium === 'memory') {
    if (path !== undefined) throw new UsageError('A memory pool has no --path.')
    if (bytes === undefined) throw new UsageError('A memory pool needs its size, for example --bytes 1GiB.')
    return { medium, bytes, ...table }
  }
  if (medium === 'file') {
    if (path === undefined) throw new UsageError('A file pool needs its --path.')
    return { medium, path, create, ...(bytes === undefined ? {} : { bytes }), ...table }
  }
  if (medium === 'devdax') {
    if (path === undefined) throw new UsageError('A devdax pool needs its device, for example --devdax /dev/dax0.0.')
    if (bytes !== undefined) throw new UsageError('A devdax pool has the size of its device; leave out --bytes.')
    return { medium, path, create, ...table }
  }
  throw new UsageError(
    `Say where the pool lives: --medium memory --bytes SIZE, or --medium file --path PATH${medium === undefined ? '' : `; not "${medium}"`}.`,
  )
}
