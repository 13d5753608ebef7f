/**
 * What an operation may cost, in the units of excesses.ts: what it cost when this was written and a little more. How much of the
 * work of calls in flight is joined depends on what the machine does; it never costs more than the same calls one at a time.
 * Lower a bound when the product has become better; raise one only with a reason.
 */
import { type Costs, counters } from './excesses.js'

const table = `
operation                                | promises | heapBytes | callsIntoNative | callsBack | clientSends | unitSends | messages | wireBytes | clientSystemCalls | unitSystemCalls | clientWakeUps | unitWakeUps | fileWrites | fileBytes | syncs
write of 64 B, visible                   |      1.1 |      5500 |             1.1 |       1.1 |         1.1 |       1.1 |      3.1 |       170 |               8.5 |               4 |             4 |           2 |          0 |         0 |     0
write of 64 B, visible, 16 in flight     |      1.1 |      5000 |             1.1 |       1.1 |         1.1 |       1.1 |      3.1 |       170 |               8.5 |               4 |             4 |           2 |          0 |         0 |     0
append of 64 B, visible                  |      6.1 |     17500 |             3.1 |       1.1 |         1.1 |       1.1 |      3.1 |       300 |               8.5 |               4 |             4 |           2 |          0 |         0 |     0
append of 64 B, visible, 16 in flight    |      6.1 |     17500 |             3.1 |       1.1 |         1.1 |       1.1 |      3.1 |       300 |               8.5 |               4 |             4 |           2 |          0 |         0 |     0
overwrite of 64 B, visible               |      6.1 |     16500 |             3.1 |       1.1 |         1.1 |       1.1 |      3.1 |       300 |               8.5 |               4 |             4 |           2 |          0 |         0 |     0
overwrite of 64 B, visible, 16 in flight |        9 |     17500 |             3.1 |       1.1 |         1.1 |       1.1 |      3.1 |       300 |               8.5 |               4 |             4 |           2 |          0 |         0 |     0
write of 4 KiB, durable                  |      1.1 |      5500 |             1.1 |       1.1 |         1.1 |       1.1 |      3.1 |      4270 |                12 |              10 |             5 |         8.5 |        1.1 |      4200 |   1.1
write of 4 KiB, durable, 16 in flight    |      1.1 |      5500 |             1.1 |       1.1 |         1.1 |       1.1 |      3.1 |      4270 |                12 |              10 |             5 |         8.5 |        1.1 |      4200 |   1.1
append of 4 KiB, durable                 |      6.1 |     21000 |             4.2 |       1.1 |         1.1 |       1.1 |      4.3 |      4570 |                12 |              11 |             5 |          11 |        2.2 |     12700 |   1.1
append of 4 KiB, durable, 16 in flight   |      6.1 |     21500 |             4.2 |       1.1 |         1.1 |       1.1 |      4.3 |      4570 |                12 |              11 |             5 |          11 |        2.2 |     12700 |   1.1
overwrite of 64 B, durable               |      6.1 |     19500 |             4.1 |       1.1 |         1.1 |       1.1 |      4.1 |       510 |                12 |            10.5 |             5 |         9.5 |        1.6 |      8300 |   1.1
overwrite of 64 B, durable, 16 in flight |        9 |     20500 |             4.1 |       1.1 |         1.1 |       1.1 |      4.1 |       510 |                12 |            10.5 |             5 |         9.5 |        1.6 |      8300 |   1.1
read of 64 B                             |      1.1 |      5000 |             1.1 |       1.1 |         1.1 |       1.1 |      2.1 |       150 |               8.5 |               4 |             4 |           2 |          0 |         0 |     0
read of 64 B, 16 in flight               |      1.1 |      4500 |             1.1 |       1.1 |         1.1 |       1.1 |      2.1 |       150 |               8.5 |               4 |             4 |           2 |          0 |         0 |     0
latest of 64 B                           |     25.1 |     36500 |             6.1 |       1.1 |         1.1 |       1.1 |      8.1 |     41460 |                12 |               4 |             4 |           2 |          0 |         0 |     0
write of 1 MiB, visible                  |      1.1 |     23000 |             1.1 |       1.1 |         7.5 |         2 |     19.1 |   1054250 |              21.5 |            33.5 |           4.5 |           2 |          0 |         0 |     0
append of 1 MiB, visible                 |      6.1 |     49000 |             4.1 |       1.1 |         7.5 |         2 |     21.1 |   1054540 |              21.5 |            33.5 |           4.5 |           2 |          0 |         0 |     0
`

const [heads = [], ...rows] = table
  .trim()
  .split('\n')
  .map((line) => line.split('|').map((text) => text.trim()))

export const bounds: Record<string, Costs> = Object.fromEntries(
  rows.map(([operation = '', ...values]) => [
    operation,
    Object.fromEntries(counters.map((counter) => [counter, Number(values[heads.indexOf(counter) - 1])])),
  ]),
)
