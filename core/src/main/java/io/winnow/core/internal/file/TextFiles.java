package io.winnow.core.internal.file;

import io.winnow.core.InvalidInputException;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.zip.ZipException;

/** Text that must be UTF-8, and what is said where it cannot be read. */
public final class TextFiles {
  private TextFiles() {}

  /**
   * Decodes bytes strictly.
   *
   * @param where behind "at offset", which part of the file the bytes are; may be empty
   * @throws InvalidInputException if they are not UTF-8
   */
  public static String decode(byte[] bytes, Path file, String where) {
    CharsetDecoder decoder = StandardCharsets.UTF_8.newDecoder();
    ByteBuffer in = ByteBuffer.wrap(bytes);
    try {
      CharBuffer text = decoder.decode(in);
      return text.toString();
    } catch (CharacterCodingException e) {
      throw new InvalidInputException(
          String.format(
              "%s is not UTF-8 text: byte 0x%02x%s at offset %d is malformed. Convert it, for"
                  + " example with iconv -f ISO-8859-1 -t UTF-8; token ids belong in a file whose"
                  + " name ends in .safetensors.",
              file, in.get(in.position()), where, in.position()),
          e);
    }
  }

  /** Returns what to throw where a file that was there cannot be read. */
  public static InvalidInputException cannotRead(Path file, IOException e) {
    String reason = e.toString();
    if (e instanceof NoSuchFileException) {
      reason = "it is gone";
    } else if (isTruncation(e)) {
      reason = "its compressed data is cut off. Download it again";
    } else if (e instanceof ZipException) {
      reason = "its compressed data is damaged (" + e.getMessage() + "). Download it again";
    }
    return new InvalidInputException(file + " cannot be read: " + reason, e);
  }

  /** Whether compressed data ended early; a JSON text that does says so in other words. */
  static boolean isTruncation(IOException e) {
    return e instanceof EOFException && (e.getMessage() == null || e.getMessage().contains("ZLIB"));
  }
}
