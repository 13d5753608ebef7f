#!/usr/bin/env node
/** The command line. Every command is a file of its own; this one knows their names and flags. */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { CheckpointError } from '../errors.js'
import type { OnFull, RegionMode } from '../types.js'
import { serveExitCode } from './exit-codes.js'
import { flagOf, type SettingName, type SettingValues, settings, variableOf } from './serve-settings.js'
import { parseSize } from './sizes.js'
import { endServing, guardStreams, isReaderGone, lostResults } from './standard-streams.js'
import { reportError, UsageError } from './terminal.js'

const defaultAddress = '127.0.0.1:4790'
const addressHelp = 'host:port of a unit; the default port is 4790'
const errorsFile = fileURLToPath(new URL('../../docs/errors.md', import.meta.url))

/** This process is a unit: it ends even if its output has no reader. */
let serving = false

interface Common {
  json?: boolean
  timeout: number
}

function main(): void {
  guardStreams()
  const program = new Command('rdma-checkpoint')
    .description('Persistent memory units for primary/backup failover: serve a unit, and inspect running ones.')
    .version(version())
    .showHelpAfterError('(add --help for the usage)')
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
  addServe(program)
  addPool(program)
  addStatus(program)
  addRegions(program)
  addCheckpoints(program)
  addCursors(program)
  addDevices(program)
  program.addHelpText(
    'after',
    `
Examples:
  rdma-checkpoint serve --medium file --path ./pool --bytes 1GiB --create
  rdma-checkpoint status ${defaultAddress}
  rdma-checkpoint regions create ${defaultAddress} orders --bytes 64MiB --mode append
  rdma-checkpoint checkpoints extract ${defaultAddress} orders --output latest.bin

Exit codes: 0 done, 1 failed, 2 wrong usage, 78 serve failed and a restart will not help.
On failure, one line on stderr has the error code and the reason.
What each code means, and what to do about it, is in ${errorsFile}`,
  )
  const json = process.argv.includes('--json')
  if (json) silence(program)
  // Writing the results can fail after everything else is done.
  process.once('beforeExit', () => {
    const lost = lostResults()
    if (lost === undefined || process.exitCode) return
    process.exitCode = reportError(
      new CheckpointError('SYSTEM', `Not all of the output could be written: ${lost.message}`, { cause: lost }),
      json,
    )
  })
  program
    .parseAsync()
    .catch((error: unknown) => {
      // Its reader has seen enough.
      if (isReaderGone(error)) return
      if (!(error instanceof CommanderError)) {
        const code = reportError(error, json)
        process.exitCode = serving && code === 1 ? serveExitCode(error) : code
      } else if (error.exitCode === 0) process.exitCode = 0
      else process.exitCode = json ? reportError(usageError(error), json) : 2
    })
    .finally(() => (serving ? endServing() : undefined))
}

/** With --json, {@link reportError} reports wrong usage as one line of JSON, and commander stays silent. */
function silence(command: Command): void {
  command.configureOutput({ outputError: () => undefined, writeErr: () => undefined })
  for (const sub of command.commands) silence(sub)
}

function usageError({ code, message }: CommanderError): UsageError {
  // For a command without its subcommand, commander only prints the help; its message says nothing.
  const text = code === 'commander.help' ? 'A command is missing; --help lists them.' : message.replace(/^error: /, '')
  return new UsageError(text)
}

function addServe(program: Command): void {
  const command = program
    .command('serve')
    .summary('run a unit in the foreground')
    .description(
      'Runs a persistent memory unit until SIGTERM or SIGINT. Prints one line of JSON on stdout when it is ready, and logs ' +
        'JSON lines to stderr.\n\nEach flag also has an environment variable (RDMA_CHECKPOINT_MAX_REGIONS for --max-regions; ' +
        'separate lists with commas) and a name in the file of --config (maxRegions). Flags override variables, and variables ' +
        'override the file.',
    )
  addSettings(command, Object.keys(settings) as SettingName[])
  command
    .addOption(new Option('--config <FILE>', 'settings as a JSON object').env('RDMA_CHECKPOINT_CONFIG'))
    .addOption(new Option('--json', 'accepted for consistency: the output is always JSON'))
    .action(async (flags: SettingValues & { config?: string }) => {
      const { serve } = await import('./serve.js')
      serving = true
      await serve(flags, flags.config)
    })
}

function addPool(program: Command): void {
  const command = program.command('pool').description('Create pools.').command('create')
  command
    .summary('create a new, empty pool')
    .description(
      'Creates a new, empty pool: in a file, with all its space reserved, or on a device without a pool. It refuses to touch ' +
        'anything that exists already. The settings are those of serve: flags, variables, or the file of --config.',
    )
  addSettings(command, ['medium', 'path', 'devdax', 'bytes', 'maxRegions'])
  command
    .addOption(new Option('--config <FILE>', 'settings as a JSON object').env('RDMA_CHECKPOINT_CONFIG'))
    .option('--json', 'print JSON, errors too')
    .action(async (flags: SettingValues & { config?: string; json?: boolean }) => {
      const { createPool } = await import('./pool.js')
      await createPool(flags, flags)
    })
}

function addSettings(command: Command, names: readonly SettingName[]): void {
  for (const name of names) {
    const { kind, value, help } = settings[name]
    command.addOption(
      new Option(kind === 'flag' ? flagOf(name) : `${flagOf(name)} <${value}>`, `${help} [${variableOf(name)}]`),
    )
  }
}

function addStatus(program: Command): void {
  common(program.command('status'))
    .summary('show the state of a unit')
    .description('Prints the state of a unit. The exit code is 0 only if it is ready.')
    .argument('[address]', addressHelp, process.env.RDMA_CHECKPOINT_LISTEN ?? defaultAddress)
    .action(async (address: string, options: Common) => {
      const { status } = await import('./status.js')
      if (!(await status(address, options))) process.exitCode = 1
    })
}

function addRegions(program: Command): void {
  const regions = program.command('regions').description('List, create, inspect and delete regions.')
  common(regions.command('list'))
    .description('Lists the regions of a unit.')
    .argument('<address>', addressHelp)
    .option('--prefix <TEXT>', 'only names that begin with TEXT')
    .action(async (address: string, options: Common & { prefix?: string }) => {
      const { listRegions } = await import('./regions.js')
      await listRegions(address, options)
    })
  common(regions.command('create'))
    .description('Creates a region. It reads as zeros.')
    .argument('<address>', addressHelp)
    .argument('<name>', '1 to 255 bytes of UTF-8')
    .requiredOption('--bytes <SIZE>', 'such as 4096, 64MiB, 1.5GiB', size)
    .addOption(
      new Option('--mode <MODE>', 'what the region holds').choices(['append', 'overwrite', 'raw']).default('append'),
    )
    .addOption(
      new Option('--on-full <POLICY>', 'what an append does when the log is full')
        .choices(['drop-oldest', 'wait', 'fail'])
        .default('drop-oldest'),
    )
    .option('--silence-ms <MS>', 'an owner that is silent for this long is lost (default: 1000)', count)
    .option(
      '--stall-ms <MS>',
      'an owner whose event loop is blocked for this long is lost; 0: never (default: 10000)',
      count,
    )
    .option('--label <KEY=VALUE>', 'a label; may be repeated', label, {})
    .action(async (address: string, name: string, options: Common & RegionFlags) => {
      const { createRegion } = await import('./regions.js')
      const { label: labels, ...rest } = options
      await createRegion(address, name, { ...rest, labels })
    })
  common(regions.command('delete'))
    .description('Deletes a region and its content. Clients that have it open are cut off first.')
    .argument('<address>', addressHelp)
    .argument('<name>')
    .action(async (address: string, name: string, options: Common) => {
      const { deleteRegion } = await import('./regions.js')
      await deleteRegion(address, name, options)
    })
  common(regions.command('take-over'))
    .description('Fences the owner of a region and leaves the region without an owner. Raises the epoch.')
    .argument('<address>', addressHelp)
    .argument('<name>')
    .action(async (address: string, name: string, options: Common) => {
      const { takeOverRegion } = await import('./regions.js')
      await takeOverRegion(address, name, options)
    })
  common(regions.command('metadata'))
    .description("Shows a region's entry in the unit's tables, read by RDMA, and the address of the region.")
    .argument('<address>', addressHelp)
    .argument('<name>')
    .action(async (address: string, name: string, options: Common) => {
      const { showMetadata } = await import('./regions.js')
      await showMetadata(address, name, options)
    })
}

function addDevices(program: Command): void {
  program
    .command('devices')
    .summary('list RDMA devices')
    .description(
      'Lists the RDMA devices of this machine: ports, addresses, state, limits, what transport verbs would use, and what it ' +
        'lacks. The exit code is 0 only if transport verbs can be used.',
    )
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }) => {
      const { devices } = await import('./devices.js')
      if (!devices(options)) process.exitCode = 1
    })
}

interface RegionFlags {
  bytes: number
  mode: RegionMode
  onFull: OnFull
  silenceMs?: number
  stallMs?: number
  label: Record<string, string>
}

function addCheckpoints(program: Command): void {
  const checkpoints = program.command('checkpoints').description("List, extract and clear a region's checkpoints.")
  common(checkpoints.command('list'))
    .description('Lists the checkpoints that a region holds, oldest first.')
    .argument('<address>', addressHelp)
    .argument('<region>')
    .action(async (address: string, region: string, options: Common) => {
      const { listCheckpoints } = await import('./checkpoints.js')
      await listCheckpoints(address, region, options)
    })
  common(checkpoints.command('extract'))
    .description('Writes the bytes of one checkpoint, as its codec encoded them, to a file.')
    .argument('<address>', addressHelp)
    .argument('<region>')
    .option('--sequence <N>', 'which one (default: the newest)', sequence)
    .requiredOption('--output <FILE>', 'a file, pipe or device; - for stdout')
    .action(async (address: string, region: string, options: Common & { sequence?: bigint; output: string }) => {
      const { extractCheckpoint } = await import('./checkpoints.js')
      await extractCheckpoint(address, region, options)
    })
  common(checkpoints.command('clear'))
    .description('Removes checkpoints from a region without an owner. Their sequence numbers are not used again.')
    .argument('<address>', addressHelp)
    .argument('<region>')
    .option('--before <N>', 'only those with a lower sequence number (default: all)', sequence)
    .option('--take-over', 'fence the owner first if it is alive')
    .action(async (address: string, region: string, options: Common & { before?: bigint; takeOver?: boolean }) => {
      const { clearCheckpoints } = await import('./checkpoints.js')
      await clearCheckpoints(address, region, options)
    })
}

function addCursors(program: Command): void {
  const cursors = program
    .command('cursors')
    .description('List, save and delete cursors: places in the log that readers have saved.')
  common(cursors.command('list'))
    .description('Lists the saved cursors of a region.')
    .argument('<address>', addressHelp)
    .argument('<region>')
    .action(async (address: string, region: string, options: Common) => {
      const { listCursors } = await import('./cursors.js')
      await listCursors(address, region, options)
    })
  common(cursors.command('set'))
    .description('Saves a cursor at a checkpoint, or moves it there. Later checkpoints count as unread.')
    .argument('<address>', addressHelp)
    .argument('<region>')
    .argument('<cursor>', 'its name')
    .option('--sequence <N>', 'which checkpoint (default: the newest)', sequence)
    .action(async (address: string, region: string, cursor: string, options: Common & { sequence?: bigint }) => {
      const { setCursor } = await import('./cursors.js')
      await setCursor(address, region, cursor, options)
    })
  common(cursors.command('delete'))
    .description('Deletes a cursor. A log with the policy wait then keeps nothing for it.')
    .argument('<address>', addressHelp)
    .argument('<region>')
    .argument('<cursor>', 'its name')
    .action(async (address: string, region: string, cursor: string, options: Common) => {
      const { deleteCursor } = await import('./cursors.js')
      await deleteCursor(address, region, cursor, options)
    })
}

function common(command: Command): Command {
  return command
    .option('--json', 'print JSON, errors too')
    .option('--timeout <MS>', 'milliseconds until the command gives up', count, 30_000)
}

function size(text: string): number {
  const bytes = parseSize(text)
  if (bytes === undefined || bytes < 1) throw new InvalidArgumentError('It is a size such as 4096, 64MiB or 1.5GiB.')
  return bytes
}

function count(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It is a whole number.')
  return Number(text)
}

function sequence(text: string): bigint {
  if (!/^\d{1,20}$/.test(text)) throw new InvalidArgumentError('It is a sequence number.')
  return BigInt(text)
}

function label(text: string, labels: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('It is KEY=VALUE.')
  return { ...labels, [text.slice(0, at)]: text.slice(at + 1) }
}

function version(): string {
  return (createRequire(import.meta.url)('../../package.json') as { version: string }).version
}

main()
