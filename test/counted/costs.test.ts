/**
 * What an operation costs, counted and never timed: no other work on the machine makes it more. RC_SHOW_COSTS=1 prints all of
 * it.
 */
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { UnitProcess, type UnitProcessOptions } from '../fault/support/unit-process.js'
import { bounds } from './bounds.js'
import { type Costs, excesses, formatExcesses } from './excesses.js'

const MiB = 1024 * 1024
const support = fileURLToPath(new URL('support/', import.meta.url))
const compiler = (process.env.CC ?? 'cc').split(' ')

/** Why nothing can be counted here, if so. */
function obstacle(): string | undefined {
  if (process.env.RDMA_CHECKPOINT_TEST_ADDRESS !== undefined) return 'an RDMA device makes no system calls to count'
  try {
    execFileSync(compiler[0] as string, [...compiler.slice(1), '--version'], { stdio: 'ignore' })
  } catch {
    return 'no C compiler for the counters: apt-get install gcc'
  }
  return undefined
}

const absent = obstacle()

describe.skipIf(absent !== undefined)(`per operation${absent === undefined ? '' : ` (${absent})`}`, () => {
  let folder: string
  const units: UnitProcess[] = []
  let costs: Record<string, Costs>

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'rdma-checkpoint-test-'))
    const library = path.join(folder, 'counters.so')
    const source = path.join(support, 'counters.c')
    const flags = ['-O1', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-o', library, source, '-ldl']
    execFileSync(compiler[0] as string, [...compiler.slice(1), ...flags])
    const counting = (name: string) => ({ LD_PRELOAD: library, RC_COUNTERS: path.join(folder, name) })
    const start = async (pool: UnitProcessOptions['pool']) => {
      const env = counting(pool.medium)
      const unit = await UnitProcess.start({ pool, env, flags: ['--transport', 'iwarp'] })
      units.push(unit)
      return { address: unit.address, pid: unit.child.pid, counters: env.RC_COUNTERS }
    }
    const memory = await start({ medium: 'memory', bytes: 64 * MiB })
    const file = await start({ medium: 'file', path: path.join(folder, 'pool'), bytes: 64 * MiB })
    const env = counting('client')
    const given = JSON.stringify({ own: env.RC_COUNTERS, memory, file })
    // As interpreted: when the compiler gets to what runs often depends on the load.
    const v8 = ['--expose-gc', '--no-opt', '--no-sparkplug', '--min-semi-space-size=64', '--max-semi-space-size=64']
    const { stdout } = await promisify(execFile)(process.execPath, [...v8, path.join(support, 'counted.mjs'), given], {
      env: { ...process.env, ...env, RDMA_CHECKPOINT_ADDON: path.join(support, 'addon.cjs') },
      maxBuffer: 64 * MiB,
    })
    costs = JSON.parse(stdout)
    if (process.env.RC_SHOW_COSTS) console.log(JSON.stringify(costs, undefined, 2))
  }, 600_000)
  afterAll(async () => {
    for (const unit of units) await unit.kill()
    rmSync(folder, { recursive: true, force: true })
  })

  it('every workload has bounds, and no others have', () => {
    expect(Object.keys(costs).sort()).toEqual(Object.keys(bounds).sort())
  })

  it.each(Object.keys(bounds))('%s', (workload) => {
    const found = excesses(workload, costs[workload] ?? {}, bounds[workload] ?? {})
    if (found.length > 0) expect.fail(`\n${formatExcesses(found)}`)
  })
})
