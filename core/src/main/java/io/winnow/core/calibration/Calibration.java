package io.winnow.core.calibration;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import com.google.common.primitives.ImmutableLongArray;
import com.google.errorprone.annotations.CanIgnoreReturnValue;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * The text that a model is run on to see what its experts do with it: equally long sequences of
 * token ids, and where they came from. What is seen then are statistics, what is chosen by them is
 * a plan or a policy.
 *
 * <p>From text: the documents are tokenised one by one without special tokens, concatenated, and
 * cut into consecutive blocks of {@code length} tokens that do not overlap; the rest is dropped. Of
 * these, a seeded sample of {@code sequences} blocks is drawn without replacement and put in file
 * order. Where there are fewer blocks than wanted all are used, and {@link #description} says so.
 *
 * <p>From token ids, {@code [sequences, length]}: the same sample of rows, or the rows as they are,
 * in file order, where the wanted number equals what is there or exceeds it.
 *
 * <p>The sample: the block numbers {@code 0, 1, …} shuffled by {@link Collections#shuffle(List,
 * Random)} with {@code new Random(seed)}, the first {@code sequences} of them, sorted. The same
 * input, options and seed give the same calibration everywhere.
 *
 * <p>Immutable and safe for use by several threads.
 */
public final class Calibration {
  private final TokenSequences sequences;
  private final long seed;
  private final String description;
  private final List<Part> parts;

  Calibration(TokenSequences sequences, long seed, String description) {
    this(sequences, seed, description, List.of(new Part("calibration", sequences.count())));
  }

  Calibration(TokenSequences sequences, long seed, String description, List<Part> parts) {
    this.sequences = sequences;
    this.seed = seed;
    this.description = description;
    this.parts = List.copyOf(parts);
  }

  /**
   * Sequences that come from one source; those of the parts follow each other.
   *
   * @param name of the source
   * @param sequences how many
   */
  public record Part(String name, int sequences) {}

  /**
   * A source of a mixed calibration, and what it weighs.
   *
   * @param name for reports
   * @param calibration of which the first sequences are taken
   * @param weight positive; the share of the source is its weight of the sum of all
   */
  public record Share(String name, Calibration calibration, double weight) {}

  /**
   * Returns a calibration of several sources, each with its share of the sequences, so that every
   * method weighs them so: 0.7 and 0.3 of 100 sequences are the first 70 and the first 30. If a
   * source has fewer than its share, all are fewer.
   *
   * @param sequences how many are wanted altogether, at least one for each source
   * @throws InvalidInputException if there is no source, a weight is not positive, a source gets no
   *     sequence, or sequences differ in length
   */
  public static Calibration mix(int sequences, List<Share> shares) {
    return CalibrationMix.of(sequences, shares);
  }

  /**
   * Returns a calibration of a file's text, with seed 0.
   *
   * @param tokenizer the model's tokenizer, which the caller closes
   * @param file the text, as in {@link Builder#setSource}
   * @param sequences how many sequences are wanted, at least 1
   * @param length the number of tokens in each, at least 1
   * @return the calibration
   * @throws InvalidInputException as {@link Builder#build} does
   */
  public static Calibration ofText(TextTokenizer tokenizer, Path file, int sequences, int length) {
    return builder()
        .setSource(file)
        .optTokenizer(tokenizer)
        .optSequences(sequences)
        .optLength(length)
        .build();
  }

  /**
   * Returns a calibration of a file's text, with seed 0, by a tokenizer that the host has already.
   *
   * @param tokenizer the model's tokenizer, which the caller closes; see {@link TextTokenizer#wrap}
   * @param file the text, as in {@link Builder#setSource}
   * @param sequences how many sequences are wanted, at least 1
   * @param length the number of tokens in each, at least 1
   * @return the calibration
   * @throws InvalidInputException as {@link Builder#build} does
   */
  public static Calibration ofText(
      HuggingFaceTokenizer tokenizer, Path file, int sequences, int length) {
    return ofText(TextTokenizer.wrap(tokenizer), file, sequences, length);
  }

  /**
   * Returns a calibration of the given token ids, all of them, in their order.
   *
   * @param ids the token ids, {@code [sequences, length]}; copied
   * @return the calibration
   * @throws InvalidInputException as {@link TokenSequences#of} does
   */
  public static Calibration ofTokens(long[][] ids) {
    TokenSequences sequences = TokenSequences.of(ids);
    return new Calibration(
        sequences,
        0,
        sequences.count() + " sequences of " + sequences.length() + " tokens, as given");
  }

  /** Returns a builder, of which one of the {@code set} methods must be called. */
  public static Builder builder() {
    return new Builder();
  }

  /** Returns the token ids, {@code [sequences, length]}. */
  public TokenSequences sequences() {
    return sequences;
  }

  /** Returns the sources of the sequences, in order; one, unless the calibration is mixed. */
  public List<Part> parts() {
    return parts;
  }

  /** Returns what identifies the token ids: {@link TokenSequences#digest}. */
  public String digest() {
    return sequences.digest();
  }

  /** Returns the seed that the sample is drawn with, also where there was nothing to draw. */
  public long seed() {
    return seed;
  }

  /**
   * Returns in a line what was chosen of what was there, for reports: {@code 57 blocks of 256
   * tokens: all there are, 128 were wanted}.
   */
  public String description() {
    return description;
  }

  /**
   * Checks that a model can read these tokens.
   *
   * @param vocabularySize the number of entries in the model's embedding
   * @param maxPositions the length of the longest sequence that the model can read
   * @throws InvalidInputException if an id lies outside the vocabulary, or if the sequences are
   *     longer than the model's positions
   */
  public void checkFits(int vocabularySize, int maxPositions) {
    SequenceSampler.checkPositions(sequences.length(), maxPositions);
    if (sequences.maxId() < vocabularySize) {
      return;
    }
    for (int i = 0; i < sequences.count(); i++) {
      long[] ids = sequences.sequence(i);
      for (int position = 0; position < ids.length; position++) {
        if (ids[position] >= vocabularySize) {
          throw new InvalidInputException(
              "Token id "
                  + ids[position]
                  + " in sequence "
                  + i
                  + " at position "
                  + position
                  + " (both from 0) is outside the model's vocabulary of "
                  + vocabularySize
                  + " entries. Was it made with another model's tokenizer?");
        }
      }
    }
  }

  @Override
  public String toString() {
    return "Calibration[" + description + "]";
  }

  /**
   * Builds a {@link Calibration}: exactly one of {@link #setSource}, {@link #setText} and {@link
   * #setDocuments}, and what else differs from its default. Not for use by several threads.
   */
  public static final class Builder {
    private static final int DEFAULT_SEQUENCES = 128;

    private @Nullable Path source;
    private @Nullable String text;
    private @Nullable List<String> documents;
    private @Nullable TextTokenizer tokenizer;
    private String textField = "text";
    private boolean plainText;
    private String tensor = "input_ids";
    private int sequences = DEFAULT_SEQUENCES;
    private @Nullable Integer length;
    private @Nullable Integer maxPositions;
    private long seed;

    private Builder() {}

    /**
     * Sets the file to read. What it holds says how: safetensors are token ids, {@code [sequences,
     * length]}; one JSON object a line, or a JSON list of objects, each of at most 16 MiB, are
     * documents in their text fields, blank lines aside; any other text is one document of at most
     * 64 MiB. Text is UTF-8, UTF-16 or UTF-32, with a byte order mark or without, and may be
     * compressed by gzip. All of it is tokenised, whatever is used of it then: a second or two a
     * megabyte.
     */
    @CanIgnoreReturnValue
    public Builder setSource(Path source) {
      this.source = source;
      return this;
    }

    /** Sets the text itself: one document. */
    @CanIgnoreReturnValue
    public Builder setText(String text) {
      this.text = text;
      return this;
    }

    /** Sets the documents themselves; the list is copied. */
    @CanIgnoreReturnValue
    public Builder setDocuments(List<String> documents) {
      this.documents = List.copyOf(documents);
      return this;
    }

    /** Sets the model's tokenizer, which text needs and token ids do not. The caller closes it. */
    @CanIgnoreReturnValue
    public Builder optTokenizer(TextTokenizer tokenizer) {
      this.tokenizer = tokenizer;
      return this;
    }

    /** Sets the field that holds the text in objects of JSON; by default {@code text}. */
    @CanIgnoreReturnValue
    public Builder optTextField(String textField) {
      this.textField = textField;
      return this;
    }

    /**
     * Sets whether text is read as one document also where it is JSON; by default it is not, and
     * JSON that is neither one object a line nor a list of objects is refused.
     */
    @CanIgnoreReturnValue
    public Builder optPlainText(boolean plainText) {
      this.plainText = plainText;
      return this;
    }

    /** Sets the tensor to read in a {@code .safetensors} file; by default {@code input_ids}. */
    @CanIgnoreReturnValue
    public Builder optTensor(String tensor) {
      this.tensor = tensor;
      return this;
    }

    /** Sets how many sequences are wanted, at least 1; by default 128. */
    @CanIgnoreReturnValue
    public Builder optSequences(int sequences) {
      this.sequences = sequences;
      return this;
    }

    /**
     * Sets the number of tokens in each sequence, at least 1. By default text is cut into blocks of
     * 2048 or the model's positions, whichever is less, and token ids keep the length they have.
     * Longer rows of token ids are cut to their first {@code length} tokens.
     */
    @CanIgnoreReturnValue
    public Builder optLength(int length) {
      this.length = length;
      return this;
    }

    /** Sets the length of the longest sequence that the model can read; by default unlimited. */
    @CanIgnoreReturnValue
    public Builder optMaxPositions(int maxPositions) {
      this.maxPositions = maxPositions;
      return this;
    }

    /** Sets the seed that the sample is drawn with; by default 0. */
    @CanIgnoreReturnValue
    public Builder optSeed(long seed) {
      this.seed = seed;
      return this;
    }

    /**
     * Reads the source and returns the calibration.
     *
     * @return the calibration
     * @throws InvalidInputException if there is not exactly one source, or it cannot be read as
     *     what it holds; if text comes without a tokenizer, or is too short for one sequence; if
     *     rows of token ids are shorter than the length asked for; if the sequences are longer than
     *     the model's positions; if a number asked for is less than 1
     */
    public Calibration build() {
      requireOneSource();
      SequenceSampler sampler = new SequenceSampler(sequences, length, maxPositions, seed);
      if (source != null && CalibrationFiles.isTokenIds(source)) {
        return sampler.ofRows(CalibrationFiles.readTokenIds(source, tensor), source);
      }
      return sampler.ofBlocks(tokenize());
    }

    private ImmutableLongArray tokenize() {
      if (tokenizer == null) {
        throw new InvalidInputException(
            "Text needs the model's tokenizer: give optTokenizer, for example"
                + " TextTokenizer.open(folder), whose folder holds a tokenizer.json. Token ids in"
                + " a .safetensors file (tensor input_ids, [sequences, length]) work without one.");
      }
      TextTokenizer encoder = tokenizer;
      ImmutableLongArray.Builder ids = ImmutableLongArray.builder();
      Consumer<String> add = document -> ids.addAll(Arrays.stream(encoder.encode(document)));
      String origin;
      if (documents != null) {
        origin = "The list of documents";
        documents.forEach(add);
      } else if (text != null) {
        origin = "The text";
        add.accept(text);
      } else {
        Path file = Objects.requireNonNull(source);
        origin = file.toString();
        CalibrationFiles.readDocuments(file, textField, plainText, add);
      }
      ImmutableLongArray all = ids.build();
      if (all.isEmpty()) {
        throw new InvalidInputException(
            origin + " is empty: it has no tokens. A calibration needs text.");
      }
      return all;
    }

    private void requireOneSource() {
      List<String> given = new ArrayList<>();
      if (source != null) {
        given.add("setSource");
      }
      if (text != null) {
        given.add("setText");
      }
      if (documents != null) {
        given.add("setDocuments");
      }
      if (given.size() != 1) {
        throw new InvalidInputException(
            "A calibration has one source: setSource, setText or setDocuments; called were "
                + (given.isEmpty() ? "none" : String.join(" and ", given))
                + ".");
      }
    }
  }
}
