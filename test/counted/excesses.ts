/** What cost more than it may, as a table. */

export const counters = [
  'promises',
  'heapBytes',
  'callsIntoNative',
  'callsBack',
  'clientSends',
  'unitSends',
  'messages',
  'wireBytes',
  'clientSystemCalls',
  'unitSystemCalls',
  'clientWakeUps',
  'unitWakeUps',
  'fileWrites',
  'fileBytes',
  'syncs',
] as const
export type Counter = (typeof counters)[number]
export type Costs = Partial<Record<Counter, number>>

export interface Excess {
  operation: string
  counter: Counter
  counted: number | undefined
  bound: number | undefined
}

/** What was not counted, or has no bound, exceeds. */
export function excesses(operation: string, costs: Costs, bounds: Costs): Excess[] {
  return counters
    .map((counter) => ({ operation, counter, counted: costs[counter], bound: bounds[counter] }))
    .filter(({ counted, bound }) => counted === undefined || bound === undefined || !(counted <= bound))
}

export function formatExcesses(found: readonly Excess[]): string {
  const shown = (value: number | undefined) => (value === undefined ? 'none' : String(Number(value.toFixed(3))))
  const rows = [
    ['operation', 'what is counted', 'counted', 'bound'],
    ...found.map(({ operation, counter, counted, bound }) => [operation, counter, shown(counted), shown(bound)]),
  ]
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
