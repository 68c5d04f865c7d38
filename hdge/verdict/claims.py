"""The paper's claims, each as the comparisons that would bear it out."""

from dataclasses import asdict, dataclass
from typing import Literal

from hdge.study.config import BLOCKS, TrainConfig

Better = Literal["higher", "lower", "alike"]
CHANCE = "chance"  # a baseline whose AUROC is 0.5


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Args:
        group: what it is about.
        name: in a few words.
        where: the place in the paper.
        words: of the paper, quoted or, where it is a figure that speaks, in short.
        table: the study's table that holds the measure, without its suffix.
        value: the measure's column.
        better: the direction claimed for the method.
        pairs: (method, baseline), each compared within every combination of the keys.
        keys: columns within which methods are compared.
        only: column and how the values must begin there of the rows that count.
        margin: of a claim that values are alike.
        least: how many comparisons must hold, if not all.
        differs: settings in which the rows of a pair may differ, for the claim is about them or the method needs them.
        task: of the paper's own numbers in :func:`hdge.verdict.rule.reported`, if they are known.
    """

    group: str
    name: str
    where: str
    words: str
    table: str
    value: str
    better: Better
    pairs: tuple[tuple[str, str], ...]
    keys: tuple[str, ...] = ()
    only: tuple[tuple[str, str], ...] = ()
    margin: float = 0.0
    least: int = 0
    differs: tuple[str, ...] = ()
    task: str = ""


def against(method: str, *baselines: str) -> tuple[tuple[str, str], ...]:
    """The method paired with each of the baselines."""
    return tuple((method, baseline) for baseline in baselines)


def differing(one: TrainConfig, other: TrainConfig) -> set[str]:
    """The settings in which two runs' recipes differ; the groups that belong to a method are its own affair.

    Epochs are those in which the network's features are trained.
    """
    values = []
    for config in (one, other):
        own = {name: value for name, value in asdict(config).items() if name not in ("method", "seed", *BLOCKS)}
        own["epochs"] += config.views.head_epochs if config.method == "jointloss" else 0
        values.append(own)
    return {name for name in values[0] if values[0][name] != values[1][name]}


GROUPS = (
    "accuracy", "out-of-distribution detection", "calibration", "robustness", "generation", "cost and stability",
    "approximation",
)  # fmt: skip
ACC, OOD, CAL, ROB, GEN, COST, APPROX = GROUPS
# Two views of an image need another augmentation. A flow and a spectrally normalised network are other networks, which
# need another start and another rate. A flow's dequantisation takes the place of the noise.
VIEWS = ("augmentation",)
OTHER_NETWORKS = ("initialization", "learning_rate", "momentum", "noise", "clip")
BY_SET = ("score", "ood_set")
DENSITY, CONFIDENCE = (("score", "log q(x)"),), (("score", "max q(y|x)"),)
ACCURACY = ("04_classification_cost", "accuracy")
AUROC = ("02_ood_auroc", "auroc")
SIZE = ("07_approximation_size", "value")
ALPHA = ("09_verdict_alpha", "value")

CLAIMS = (
    Claim(ACC, "more accurate than cross-entropy", "section 5.3, Table 2",
          "HDGE outperforms standard Supervised Learning",
          *ACCURACY, "higher", against("hdge_bn", "cross_entropy_bn"), task="accuracy"),
    Claim(ACC, "more accurate than SupCon", "section 5.3, Table 2", "outperforms Supervised Contrastive Learning",
          *ACCURACY, "higher", against("hdge_bn", "supcon"), differs=VIEWS, task="accuracy"),
    Claim(ACC, "more accurate than JEM", "section 5.3, Table 2", "outperforms JEM",
          *ACCURACY, "higher", against("hdge", "jem"), task="accuracy"),
    Claim(ACC, "both terms beat the generative one", "section 5.3, Table 2", "outperforms HDGE with log q(x|y)",
          *ACCURACY, "higher", against("hdge_bn", "generative_bn"), task="accuracy"),
    Claim(ACC, "the generative term alone beats SupCon", "section 5.3, Table 2",
          "HDGE (log q(x|y) only) achieves higher accuracy than Khosla et al.",
          *ACCURACY, "higher", against("generative_bn", "supcon"), differs=VIEWS, task="accuracy"),
    Claim(OOD, "OOD by log q(x): best of all", "section 5.1.1, Tables 1 and 4",
          "HDGE consistently outperforms all of the baselines", *AUROC, "higher",
          against("hdge", "cross_entropy", "glow", "glow_conditional", "igebm", "jem")
          + against("hdge_joint", "jointloss"),
          BY_SET, DENSITY, differs=VIEWS + OTHER_NETWORKS, task="log_qx"),
    Claim(OOD, "OOD images get lower log q(x)", "section 5.1.1, Figure 1",
          "HDGE correctly assign[s] lower scores to out-of-distribution samples", *AUROC, "higher",
          against("hdge", CHANCE), BY_SET, DENSITY),
    Claim(OOD, "OOD by max q(y|x): beats the classifier", "section 5.1.2, Tables 1 and 4",
          "performs beyond the performance of a strong baseline classifier", *AUROC, "higher",
          against("hdge", "cross_entropy", "contrastive_pretraining"), BY_SET, CONFIDENCE, differs=VIEWS,
          task="max_py"),
    Claim(OOD, "OOD by max q(y|x): beats generative and hybrid models", "section 5.1.2, Tables 1 and 4",
          "considerably outperforms all other generative modeling and hybrid modeling methods", *AUROC, "higher",
          against("hdge", "glow_conditional", "igebm_conditional", "jem"), BY_SET, CONFIDENCE, differs=OTHER_NETWORKS,
          task="max_py"),
    Claim(CAL, "better calibrated than cross-entropy", "section 5.2, Figure 2",
          "significantly improve[s] both the accuracy and the calibration", "03_calibration_ece", "ece", "lower",
          against("hdge", "cross_entropy")),
    Claim(CAL, "better calibrated than JEM", "abstract; section 5.2, Figure 2",
          "performs better than or on par with state-of-the-art hand-tailored methods in each task",
          "03_calibration_ece", "ece", "lower", against("hdge", "jem")),
    Claim(ROB, "more robust than cross-entropy", "section 5.4, Figure 4",
          "significantly improves the robustness of standard classifiers", "06_robustness_curves", "accuracy", "higher",
          against("hdge", "cross_entropy"), ("norm", "radius"), (("claimed", "True"),)),
    Claim(ROB, "as robust as adversarial training", "section 5.4, Figure 4",
          "can achieve compelling robustness to the state-of-the-art adversarial training methods",
          "06_robustness_curves", "accuracy", "higher", against("hdge", "adversarial_l2", "adversarial_linf"),
          ("norm", "radius"), (("claimed", "True"),)),
    Claim(GEN, "HDGE + JEM samples better than JEM: score", "section 5.4, Table 3",
          "can outperform optimizing … by JEM",
          "05_generation_scores", "value", "higher", against("hdge_jem", "jem"), ("score",),
          (("score", "Inception"),), task="inception_score"),
    Claim(GEN, "HDGE + JEM samples better than JEM: distance", "section 5.4, Table 3",
          "can outperform optimizing … by JEM",
          "05_generation_scores", "value", "lower", against("hdge_jem", "jem"), ("score",),
          (("score", "Fréchet"),), task="fid"),
    Claim(GEN, "HDGE + JEM more accurate than JEM", "section 5.4, Table 3", "retains high classification accuracy",
          *ACCURACY, "higher", against("hdge_jem", "jem"), task="hybrid"),
    Claim(COST, "no training instability", "abstract; section 6", "does not suffer from training instability",
          "04_classification_cost", "restarts", "lower", against("hdge", "jem")),
    Claim(COST, "cheaper than JEM", "section 5.4; appendix D", "JEM runs more slower than HDGE with the largest K",
          "04_classification_cost", "operations_per_image", "lower", against("hdge", "jem")),
    Claim(APPROX, "queue and batch form are alike", "appendix C, Table 5",
          "SimCLR style of HDGE performs comparably with the default MoCo style",
          *ACCURACY, "alike", against("hdge_batch", "hdge"), margin=0.01,
          differs=("batch_size", "epochs", "learning_rate", "warmup_steps")),
    Claim(APPROX, "more negatives, more accuracy", "appendix D, Figure 5",
          "increasing number of negative samples K improves",
          *SIZE, "higher", against("hdge", "hdge_k_64"), ("measure",), (("measure", "accuracy"),)),
    Claim(APPROX, "more negatives, better OOD detection", "appendix D, Table 6",
          "increasing K in HDGE can more significantly boost the performance on all of the four datasets",
          *SIZE, "higher", against("hdge", "hdge_k_64"), ("measure", "ood_set"), (("measure", "AUROC, log q(x)"),),
          task="approximation"),
    Claim(APPROX, "K = 64 detects better than JEM", "appendix D, Table 6",
          "HDGE (K = 64) outperforms JEM and three out of four datasets",
          *SIZE, "higher", against("hdge_k_64", "jem"), ("measure", "ood_set"), (("measure", "AUROC, log q(x)"),),
          least=3, task="approximation"),
    Claim(APPROX, "more chains help JEM", "appendix D, Table 6",
          "increasing batch size of JEM improves the performance",
          *SIZE, "higher", against("jem_n_128", "jem"), ("measure", "ood_set"), (("measure", "AUROC, log q(x)"),),
          task="approximation"),
    Claim(APPROX, "alpha = 1/2 is best for accuracy and OOD detection", "section 4, below equation 14",
          "α = 0.5 delivers the highest performance on classification accuracy [and …] out-of-distribution detection",
          *ALPHA, "higher", against("hdge", "cross_entropy", "hdge_alpha_075", "hdge_alpha_025", "generative"),
          ("measure", "ood_set"), (("better", "higher"),)),
    Claim(APPROX, "alpha = 1/2 is best for calibration", "section 4, below equation 14",
          "α = 0.5 delivers the highest performance on … calibration", *ALPHA, "lower",
          against("hdge", "cross_entropy", "hdge_alpha_075", "hdge_alpha_025", "generative"),
          ("measure",), (("better", "lower"),)),
)  # fmt: skip
