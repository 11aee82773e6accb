package io.winnow.examples;

import ai.djl.Device;
import ai.djl.Model;
import io.winnow.core.MoeModel;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.model.MoeModels;
import io.winnow.skipping.SkipPolicy;
import java.nio.file.Path;
import java.util.function.Predicate;

/**
 * How text is served piece by piece as it comes, with a skip policy for each request: one may have
 * all experts, another the faster answer, over the same model at the same time.
 *
 * <p>Thread-safe: the thread that answers a request computes it, and its policy holds in this
 * thread alone. Close it when no request runs any more.
 */
public final class TextService implements AutoCloseable {
  private final Model model;
  private final TextTokenizer tokenizer;
  private final Generator generator;

  /** Loads the model and the tokenizer of a Hugging Face checkpoint folder. */
  public TextService(Path folder) {
    tokenizer = TextTokenizer.open(folder);
    try {
      model = MoeModels.load(folder, Device.cpu());
    } catch (RuntimeException e) {
      tokenizer.close();
      throw e;
    }
    generator = Generator.of(model).withTokenizer(tokenizer);
  }

  /** Returns the model, for policies to be calibrated on; it is closed with the service. */
  public Model model() {
    return model;
  }

  /**
   * Answers a request.
   *
   * @param policy which experts are skipped; {@link SkipPolicy#none} for none
   * @param onPiece takes each piece of text, of whole characters, as soon as it is certain; returns
   *     false to stop, such as where the client has hung up
   * @return all pieces together
   * @throws io.winnow.core.InvalidInputException if the policy or the prompt does not fit the model
   * @throws java.util.concurrent.CancellationException if the thread is interrupted
   */
  public String answer(
      String prompt, GenerationConfig config, SkipPolicy policy, Predicate<String> onPiece) {
    MoeModel moe = MoeModel.of(model);
    policy.checkFits(moe);
    try {
      return moe.routerHooks()
          .call(
              policy.asHook(),
              () ->
                  generator.generate(
                      prompt,
                      config,
                      (sequence, token, piece) -> piece.isEmpty() || onPiece.test(piece)))
          .text()
          .orElseThrow();
    } catch (RuntimeException e) {
      throw e;
    } catch (Exception e) {
      throw new IllegalStateException("Generating throws no checked exception", e);
    }
  }

  @Override
  public void close() {
    model.close();
    tokenizer.close();
  }
}
