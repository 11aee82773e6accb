package io.winnow.core.generate;

import ai.djl.Model;
import ai.djl.inference.Predictor;
import ai.djl.modality.nlp.generate.CausalLMOutput;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.translate.NoBatchifyTranslator;
import ai.djl.translate.TranslatorContext;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LanguageModel;
import java.util.Arrays;

/**
 * A predictor by which DJL's {@code TextGenerator} (greedy, beam and contrastive search) runs on a
 * model of {@code MoeModels}:
 *
 * <pre>{@code
 * try (var predictor = CausalLanguageModelPredictor.of(model);
 *     NDManager manager = model.getNDManager().newSubManager()) {
 *   SearchConfig config = new SearchConfig();
 *   config.setMaxSeqLength(prompt.length + 32);
 *   NDArray ids = manager.create(prompt, new Shape(1, prompt.length));
 *   long[] tokens = new TextGenerator(predictor, "beam", config).generate(ids).toLongArray();
 * }
 * }</pre>
 *
 * <p>Its input is token ids {@code [sequences, tokens]} int64; position ids of the same shape; an
 * attention mask {@code [sequences, past + tokens]} int64 of ones, before them zeros where a prompt
 * is padded on the left; then, from the second call on, the past keys and values of the last
 * output. Its output is logits {@code [sequences, tokens, vocabulary]}, hidden states behind the
 * last norm {@code [sequences, tokens, hiddenSize]} and keys and values, two arrays {@code
 * [sequences, keyValueHeads, past + tokens, headSize]} a layer; all in float32, whatever the
 * model's type, and owned by the manager of the token ids. The input stays the caller's.
 *
 * <p>{@link Generator} is faster: here every step copies the whole past. One thread at a time uses
 * a predictor, as with every predictor of DJL; several of them may share a model. The caller closes
 * it; the model stays open.
 */
public final class CausalLanguageModelPredictor extends Predictor<NDList, CausalLMOutput> {
  private static final int IDS = 0;
  private static final int POSITIONS = 1;
  private static final int MASK = 2;
  private static final int PAST = 3;

  private final LanguageModel languageModel;

  private CausalLanguageModelPredictor(Model model, LanguageModel languageModel) {
    super(model, new Outputs(), model.getNDManager().getDevice(), false);
    this.languageModel = languageModel;
  }

  /**
   * Creates a predictor, which the caller closes.
   *
   * @param model a model loaded by {@code MoeModels}, or one whose block is a {@link LanguageModel}
   * @throws InvalidInputException if it is another model
   */
  public static CausalLanguageModelPredictor of(Model model) {
    return new CausalLanguageModelPredictor(model, LanguageModel.of(model));
  }

  @Override
  protected NDList predictInternal(TranslatorContext context, NDList input) {
    if (input.size() < PAST) {
      throw new InvalidInputException(
          "The predictor takes token ids, position ids, an attention mask, and past keys and"
              + " values if there are any, but got "
              + input.size()
              + " arrays");
    }
    NDArray ids = input.get(IDS);
    NDList past = new NDList(input.subList(PAST, input.size()));
    // An array of another rank is refused with the rest of what is wrong with it.
    boolean counted = !past.isEmpty() && past.head().getShape().dimension() == 4;
    long pastLength = counted ? past.head().getShape().get(2) : 0;
    return languageModel.step(ids, past, padding(input, pastLength));
  }

  private static long[] padding(NDList input, long past) {
    int sequences = (int) input.get(IDS).getShape().get(0);
    int tokens = (int) input.get(IDS).getShape().get(1);
    int total = (int) past + tokens;
    long[] mask = input.get(MASK).toLongArray();
    long[] positions = input.get(POSITIONS).toLongArray();
    if (mask.length != sequences * total || positions.length != sequences * tokens) {
      throw new InvalidInputException(
          String.format(
              "%d sequences of %d tokens behind %d need position ids [%d, %d] and a mask [%d, %d],"
                  + " but these are %s and %s",
              sequences,
              tokens,
              past,
              sequences,
              tokens,
              sequences,
              total,
              input.get(POSITIONS).getShape(),
              input.get(MASK).getShape()));
    }
    long[] padding = new long[sequences];
    for (int i = 0; i < sequences; i++) {
      long[] row = Arrays.copyOfRange(mask, i * total, (i + 1) * total);
      int start = 0;
      while (start < total && row[start] == 0) {
        start++;
      }
      padding[i] = start;
      if (start == total || Arrays.stream(row, start, total).anyMatch(visible -> visible != 1)) {
        throw new InvalidInputException(
            String.format(
                "The attention mask of sequence %d is %s; only padding on the left can be masked"
                    + " (SearchConfig.setSuffixPadding(false)), with at least one token behind it",
                i, Arrays.toString(row)));
      }
      for (int token = 0; token < tokens; token++) {
        long expected = Math.max(0, past + token - start);
        if (positions[i * tokens + token] != expected) {
          throw new InvalidInputException(
              String.format(
                  "Token %d of sequence %d has position id %d, where its mask and past say %d",
                  token, i, positions[i * tokens + token], expected));
        }
      }
    }
    return padding;
  }

  private static final class Outputs implements NoBatchifyTranslator<NDList, CausalLMOutput> {
    @Override
    public NDList processInput(TranslatorContext context, NDList input) {
      return input;
    }

    @Override
    public CausalLMOutput processOutput(TranslatorContext context, NDList output) {
      return new CausalLMOutput(
          output.get(0), output.get(1), new NDList(output.subList(2, output.size())));
    }
  }
}
