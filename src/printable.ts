/** Text that comes from elsewhere, made fit for people's eyes: names and identities are whatever a client says. */

/** Nothing in it steers a terminal or a log's reader: control and format characters are written as escapes. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  )
}

/** The same, and not longer than so many characters (each escape counts as one) beside the mark that it was cut. */
export function printableUpTo(most: number, text: string): string {
  if (text.length <= most) return printable(text)
  return `${printable(text.slice(0, most))}… (${text.length} characters)`
}
