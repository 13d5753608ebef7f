/** The parts of the benchmark: what its numbers say, and what becomes of contenders that are not there or fail. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { Absent, findPackage, findProgram } from '../../bench/contenders/find.js'
import type { Contender } from '../../bench/contenders/index.js'
import { median, spread } from '../../bench/measure.js'
import { usualSpan } from '../../bench/payloads.js'
import { changes, renderChanges } from '../../bench/report/compare.js'
import { renderPage } from '../../bench/report/page.js'
import { notFaster, pairedRatio, type Report, rowOf } from '../../bench/report/summary.js'
import { digits, prose, renderText } from '../../bench/report/text.js'
import { chosenGroups, isChosen, type MeasuredCell, measureRounds } from '../../bench/rounds.js'

const folder = mkdtempSync(path.join(tmpdir(), 'rdma-checkpoint-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const kinds = { append: 'ours', write: 'ours', Redis: 'peer', etcd: 'peer', 'raw TCP': 'raw' } as const

function cell(series: keyof typeof kinds, rates: readonly (number | null)[], depth = 16): MeasuredCell {
  const rounds = rates.map((rate) =>
    rate === null
      ? null
      : { perSecond: rate, p50us: depth === 1 ? 1e6 / rate : 0, p99us: depth === 1 ? 2e6 / rate : 0 },
  )
  return { work: 'visible', bytes: 64, depth, series, kind: kinds[series], rounds }
}

function report(cells: MeasuredCell[]): Report {
  return {
    format: 1,
    version: '0.1.0',
    commit: 'abcdef0',
    date: '2026-01-02',
    machine: { cpu: 'A CPU', cores: 2, kernel: '6.1', node: 'v20', fileSystem: 'ext4', load: 1 },
    method: { rounds: 3, seconds: 0.1 },
    contenders: [{ name: 'Redis', kind: 'peer', version: '7', how: 'SET' }],
    absent: [{ name: 'lmdb', reason: 'no package lmdb', add: 'npm install lmdb' }],
    failures: [{ name: 'etcd', where: '64 B visible, 16 in flight', reason: 'gone' }],
    cells,
  }
}

describe('statistics', () => {
  it('take the middle, and half of the whole width', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
    expect(spread([8, 10, 14])).toBeCloseTo(0.3)
    expect(spread([0, 0])).toBe(0)
  })

  it('pair rounds: a machine that is twice as fast in one round changes no ratio', () => {
    const ratio = pairedRatio(cell('append', [50, 100, 25]), cell('Redis', [100, 200, 50]))
    expect(ratio).toEqual({ ratio: 0.5, low: 0.5, high: 0.5, rounds: 3, noisy: false })
  })

  it('leave out rounds that one of a pair has not', () => {
    expect(pairedRatio(cell('append', [null, 100, 30]), cell('Redis', [1, 200, null]))).toMatchObject({
      ratio: 0.5,
      rounds: 1,
    })
    expect(pairedRatio(cell('append', [100, null]), cell('Redis', [null, 100]))).toBeUndefined()
  })

  it('compare latencies one at a time: half the time is twice as fast', () => {
    expect(pairedRatio(cell('append', [200], 1), cell('Redis', [100], 1))?.ratio).toBeCloseTo(2)
    expect(rowOf(cell('append', [100, 200], 1))).toMatchObject({ low: 5000, high: 10_000, p50us: 7500 })
  })

  it('call a cell noisy above a quarter, and not below', () => {
    expect(rowOf(cell('append', [76, 100, 124])).noisy).toBe(false)
    expect(rowOf(cell('append', [74, 100, 126])).noisy).toBe(true)
  })
})

describe('the report', () => {
  const cells = [
    cell('append', [30, 30, 33]),
    cell('write', [200, 220, 210]),
    cell('Redis', [100, 100, 100]),
    cell('raw TCP', [400, 400, 400]),
  ]

  it('says where ours is not faster, beside peers and not beside raw limits', () => {
    const slower = notFaster(cells)
    expect(slower.map(({ ours, peer }) => [ours.series, peer.series])).toEqual([['append', 'Redis']])
    const text = renderText(report(cells))
    expect(text).toContain('In 1 of 2 comparisons with a peer ours was slower')
    expect(text).toContain('| 64 B visible, 16 in flight | append 0.300x |')
    expect(text).toContain('0 of 4 cells are noisy.')
  })

  it('says so where the rounds disagree', () => {
    expect(renderText(report([cell('append', [90, 95, 120]), cell('Redis', [100, 100, 100])]))).toContain(
      'append 0.950x ? |',
    )
  })

  it('marks noisy cells', () => {
    const text = renderText(report([cell('append', [10, 100, 200]), cell('Redis', [100, 100, 100])]))
    expect(text).toMatch(/\| append \| 100 \| 0\.006 \| 95 % ~ \|/)
    expect(text).toMatch(/\| Redis .* 1\.00x ~ \|/)
  })

  it('names what was left out and how to add it, and what failed', () => {
    const text = renderText(report(cells))
    expect(text).toContain('- lmdb: no package lmdb. To add it: npm install lmdb')
    expect(text).toContain('- etcd failed at 64 B visible, 16 in flight and was left out from there on: gone')
  })

  it('is a page with plots that exist, in lines that documents may have', () => {
    const files = renderPage(report([...cells, cell('append', [30, 30, 33], 1)]))
    const page = files.get('README.md') ?? ''
    const images = [...page.matchAll(/!\[[^\]]*\]\(([^)]+)\)/g)].map(([, name]) => name ?? '')
    expect(images).toEqual(['latency-visible.svg', 'rate-visible.svg'])
    for (const name of images) expect(files.get(name)).toMatch(/^<svg [\s\S]*<\/svg>\n$/)
    expect(files.get('rate-visible.svg')).not.toMatch(/NaN|Infinity|undefined/)
    for (const line of page.split('\n').filter((one) => !/^[|!]/.test(one)))
      expect(line.length).toBeLessThanOrEqual(100)
    expect(JSON.parse(files.get('report.json') ?? '')).toEqual(
      JSON.parse(
        JSON.stringify(report([...cells, cell('append', [30, 30, 33], 1)]), (_, value) =>
          typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value,
        ),
      ),
    )
  })

  it('shows numbers with three digits, and wraps', () => {
    expect([0.00123, 0.3, 12.34, 12_345.6, 0].map(digits)).toEqual(['0.001', '0.300', '12.3', '12346', '0'])
    expect(prose(`${'a'.repeat(60)} ${'b'.repeat(60)}`, '  ')).toBe(`${'a'.repeat(60)}\n  ${'b'.repeat(60)}`)
  })
})

describe('two reports', () => {
  const before = report([
    cell('append', [30, 31, 32]),
    cell('write', [200, 210, 220]),
    cell('raw TCP', [400, 400, 400]),
  ])

  it('are compared beside the raw limit of each: a faster machine is no change', () => {
    const now = report([cell('append', [60, 62, 64]), cell('write', [400, 420, 440]), cell('raw TCP', [800, 800, 800])])
    expect(changes(before, now).map(({ change, clear }) => [change, clear])).toEqual([
      [1, false],
      [1, false],
    ])
  })

  it('show a change as clear where the rounds do not overlap', () => {
    const now = report([cell('append', [90, 93, 96]), cell('write', [190, 205, 230]), cell('raw TCP', [400, 400, 400])])
    const [append, write] = changes(before, now)
    expect(append).toMatchObject({ beside: 'raw TCP', clear: true })
    expect(append?.change).toBeCloseTo(3)
    expect(write?.clear).toBe(false)
    expect(renderChanges(before, now)).toContain('1 cells are clearly faster, 0 clearly slower, 1 within the spread')
  })

  it('are compared beside nothing where one has no raw limit, and say when the machines differ', () => {
    const now = { ...report([cell('append', [15, 15, 15])]), machine: { ...before.machine, kernel: '6.2' } }
    expect(changes(before, now)).toMatchObject([{ beside: 'nothing', clear: true }])
    expect(renderChanges(before, now)).toContain('different machines or versions of them (kernel)')
  })
})

describe('what is looked for', () => {
  it('is found in PATH only if it can be run', () => {
    const bin = path.join(folder, 'bin')
    mkdirSync(bin)
    writeFileSync(path.join(bin, 'one'), '', { mode: 0o755 })
    writeFileSync(path.join(bin, 'two'), '', { mode: 0o644 })
    expect(findProgram('one', 'add it', `/nowhere:${bin}`)).toBe(path.join(bin, 'one'))
    expect(() => findProgram('two', 'add it', bin)).toThrow(Absent)
  })

  it('is found as a package of the folders that were named, with its version', () => {
    const project = path.join(folder, 'project')
    const there = path.join(project, 'node_modules/some-peer')
    mkdirSync(there, { recursive: true })
    writeFileSync(path.join(there, 'package.json'), '{ "name": "some-peer", "version": "1.2.3", "main": "main.js" }')
    writeFileSync(path.join(there, 'main.js'), '')
    expect(findPackage('some-peer', ['/nowhere', project])).toEqual({
      file: path.join(there, 'main.js'),
      version: '1.2.3',
    })
  })

  it('says how to add it when it is not there', () => {
    expect(() => findPackage('some-other-peer', [folder])).toThrow(
      expect.objectContaining({
        add: 'npm install --prefix FOLDER some-other-peer, then npm run bench -- --peers FOLDER',
      }),
    )
  })
})

describe('a run', () => {
  const groups = chosenGroups(['visible 64B x1'], usualSpan)
  const answers = 'export const open = async () => ({ operation: async () => async () => {}, close: async () => {} })'
  const contender = (name: string, client: string): Contender => ({
    name,
    kind: 'peer',
    client: new URL(`data:text/javascript,${encodeURIComponent(client)}`),
    series: [{ name, works: ['visible'] }],
    start: async () => ({ version: '1', how: '', setUp: undefined, stop: async () => undefined }),
  })
  const run = (...contenders: Contender[]) =>
    measureRounds(contenders, { groups, rounds: 2, seconds: 0.01, folder, packages: [], span: usualSpan })

  it('measures those that are there when others are absent, crash or refuse', async () => {
    const absent = { ...contender('absent', answers), start: () => Promise.reject(new Absent('not there', 'get it')) }
    const crashing = contender(
      'crashing',
      answers
        .replace('async () => {} })', 'async () => process.exit(3) })')
        .replace('operation: async () => async () => {}', 'operation: async () => () => process.exit(3)'),
    )
    const refusing = contender(
      'refusing',
      answers.replace('operation: async () =>', 'operation: async () => { throw new Error("no") }, x: () =>'),
    )
    const broken = contender('broken', 'throw new Error("cannot load")')
    const results = await run(absent, crashing, contender('steady', answers), refusing, broken)
    expect(results.absent).toEqual([{ name: 'absent', reason: 'not there', add: 'get it' }])
    expect(results.failures).toEqual([
      { name: 'broken', where: 'the start', reason: 'cannot load' },
      { name: 'crashing', where: '64 B visible, one at a time', reason: 'its client ended (exit code 3)' },
      { name: 'refusing', where: '64 B visible, one at a time', reason: 'no' },
    ])
    expect(
      results.cells.map(({ series, rounds }) => [series, rounds.filter((point) => point !== null).length]),
    ).toEqual([['steady', 2]])
  })

  it('leaves to a choice what it names', () => {
    expect(groups).toEqual([{ work: 'visible', bytes: 64, depth: 1 }])
    expect(isChosen({ work: 'read', bytes: 1024 * 1024, depth: 4 }, ['64B', 'read 1MiB'])).toBe(true)
    expect(isChosen({ work: 'read', bytes: 1024 * 1024, depth: 4 }, ['read 64B'])).toBe(false)
  })
})
