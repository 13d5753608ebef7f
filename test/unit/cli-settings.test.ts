import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { gatherSettings, planServe } from '../../src/cli/serve-settings.js'
import { formatSize, parseSize } from '../../src/cli/sizes.js'
import { printable } from '../../src/printable.js'

const folder = mkdtempSync(path.join(os.tmpdir(), 'rdma-checkpoint-test-'))
const config = path.join(folder, 'unit.json')
afterAll(() => rmSync(folder, { recursive: true }))

describe('settings of serve', () => {
  it('come from flags before variables before the file', () => {
    writeFileSync(
      config,
      JSON.stringify({ medium: 'file', path: '/a', bytes: '1MiB', listen: 'h:1', data: ['x:1', 'y:2'] }),
    )
    const environment = { RDMA_CHECKPOINT_PATH: '/b', RDMA_CHECKPOINT_BYTES: '2MiB', RDMA_CHECKPOINT_MAX_REGIONS: '7' }
    expect(gatherSettings({ bytes: '3MiB' }, environment, config)).toEqual({
      medium: 'file',
      path: '/b',
      bytes: 3 << 20,
      maxRegions: 7,
      listen: 'h:1',
      data: ['x:1', 'y:2'],
    })
    expect(gatherSettings({}, { RDMA_CHECKPOINT_DATA: 'a:1, b:2' })).toEqual({ data: ['a:1', 'b:2'] })
  })

  it('that do not exist or make no sense are refused with their name', () => {
    writeFileSync(config, '{"size": 1}')
    expect(() => gatherSettings({}, {}, config)).toThrow(/no setting "size"/)
    writeFileSync(config, '[1]')
    expect(() => gatherSettings({}, {}, config)).toThrow(/not a JSON object/)
    expect(() => gatherSettings({}, {}, path.join(folder, 'none'))).toThrow(/ENOENT/)
    expect(() => gatherSettings({ bytes: 'many' }, {})).toThrow(/--bytes is a size/)
    expect(() => gatherSettings({}, { RDMA_CHECKPOINT_MAX_REGIONS: '0' })).toThrow(
      /RDMA_CHECKPOINT_MAX_REGIONS is a whole number/,
    )
    expect(() => planServe({})).toThrow(/--medium memory --bytes SIZE/)
    expect(() => planServe({ medium: 'memory' })).toThrow(/--bytes/)
    expect(() => planServe({ medium: 'memory', bytes: 1, path: 'x' })).toThrow(/no --path/)
    expect(() => planServe({ medium: 'memory', bytes: 1, logLevel: 'loud' })).toThrow(/--log-level/)
  })

  it('keep strangers out unless told otherwise', () => {
    const plain = { medium: 'memory', bytes: 1 << 20 }
    expect(planServe(plain).unit.security).toEqual({ mode: 'loopback' })
    const open = gatherSettings({ ...plain, dangerouslyAllowUnauthenticated: true }, {})
    expect(planServe(open).unit.security).toEqual({ mode: 'dangerously-unauthenticated' })
  })
})

describe('sizes', () => {
  it.each([
    ['4096', 4096],
    ['64MiB', 64 << 20],
    ['64m', 64 << 20],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['1GB', 1e9],
    ['2 k', 2048],
    ['', undefined],
    ['-1', undefined],
    ['1.0001', undefined],
    ['1XB', undefined],
    ['99999999999T', undefined],
  ])('%j is %j', (text, bytes) => expect(parseSize(text)).toBe(bytes))

  it('are shown in three figures', () => {
    expect([0, 1023, 1024, 1536, 64 << 20, 1000 * 2 ** 30].map(formatSize)).toEqual([
      '0 B',
      '1023 B',
      '1 KiB',
      '1.5 KiB',
      '64 MiB',
      '1000 GiB',
    ])
  })
})

it('names cannot steer the terminal', () => {
  expect(printable('a\x1b[2Jb\nc\u202e✓')).toBe('a\\u{1b}[2Jb\\u{a}c\\u{202e}✓')
})
