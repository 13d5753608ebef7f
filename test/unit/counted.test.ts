/** The guard of costs: what exceeds its bound is named, with what was counted and the bound. */
import { expect, it } from 'vitest'
import { bounds } from '../counted/bounds.js'
import { counters, excesses, formatExcesses } from '../counted/excesses.js'

const within = Object.fromEntries(counters.map((counter) => [counter, 1]))

it('what costs as much as it may is no excess', () => {
  expect(excesses('append', within, within)).toEqual([])
})

it('what costs more, was not counted, or has no bound, is named', () => {
  const { syncs: _, ...others } = within
  expect(excesses('append', { ...within, promises: 1.5 }, within).map(({ counter }) => counter)).toEqual(['promises'])
  expect(excesses('append', { ...within, messages: Number.NaN }, within).map(({ counter }) => counter)).toEqual([
    'messages',
  ])
  expect(excesses('append', others, within)).toMatchObject([{ counter: 'syncs', counted: undefined, bound: 1 }])
  expect(excesses('append', within, others)).toMatchObject([{ counter: 'syncs', counted: 1, bound: undefined }])
})

it('the table says operation, what is counted, how much, and the bound', () => {
  expect(
    formatExcesses(
      excesses('append', { ...within, clientSends: 2 / 3, wireBytes: 304 }, { ...within, clientSends: 0.1 }),
    ),
  ).toBe(
    [
      'operation  what is counted  counted  bound',
      'append     clientSends      0.667    0.1',
      'append     wireBytes        304      1',
    ].join('\n'),
  )
})

it('every operation has a bound for everything that is counted', () => {
  for (const costs of Object.values(bounds)) {
    for (const counter of counters) expect(costs[counter]).toBeGreaterThanOrEqual(0)
  }
})
